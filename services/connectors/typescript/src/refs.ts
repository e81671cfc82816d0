// The references of a record, and the fields that follow from them.
import { call, type Entity, type Rec } from './contract.js';
import { Refusal } from './problem.js';
import type { Target, Tx } from './books.js';

/** Ref is a reference of a record. A weak one does not prevent the removal of its target. */
export interface Ref { entity: Target; origin: string; field: string; where: string; weak: boolean }

const contracts: Partial<Record<Entity, Entity>> = {
  ENTITY_COMMITMENT_CHANGE_ORDER: 'ENTITY_COMMITMENT', ENTITY_REQUISITION: 'ENTITY_COMMITMENT', ENTITY_PAYMENT: 'ENTITY_COMMITMENT',
  ENTITY_PRIME_CONTRACT_CHANGE_ORDER: 'ENTITY_PRIME_CONTRACT', ENTITY_PAYMENT_APPLICATION: 'ENTITY_PRIME_CONTRACT',
};
const parents: Partial<Record<Entity, Entity>> = { ENTITY_COST_CODE: 'ENTITY_COST_CODE', ENTITY_PAYMENT: 'ENTITY_REQUISITION' };

export function refsOf(r: Rec): Ref[] {
  const out = new Map<string, Ref>();
  const add = (entity: Target | undefined, origin: string | undefined, field: string, where = ''): void => {
    const id = `${entity}/${origin}`;
    if (entity && origin && !out.has(id)) out.set(id, { entity, origin, field, where, weak: entity === 'ENTITY_STANDARD_COST_CODE' });
  };
  add('ENTITY_JOB', r.jobOriginId, 'job');
  add('ENTITY_SUB_JOB', r.subJobOriginId, 'sub_job');
  add('ENTITY_VENDOR', r.vendorOriginId, 'vendor');
  add(contracts[r.entity], r.contractOriginId, 'contract');
  add(parents[r.entity], r.parentOriginId, r.entity === 'ENTITY_PAYMENT' ? 'requisition' : 'cost_code');
  add('ENTITY_STANDARD_COST_CODE', r.standardOriginId, 'standard_cost_code');
  add('ENTITY_COST_CODE', r.costCodeOriginId, 'cost_code');
  add('ENTITY_STANDARD_CATEGORY', r.categoryOriginId, 'category');
  r.lines.forEach((l, i) => {
    const where = ` on line ${i + 1}`;
    add('ENTITY_JOB', l.jobOriginId, 'job', where);
    add('ENTITY_SUB_JOB', l.subJobOriginId, 'sub_job', where);
    add('ENTITY_COST_CODE', l.costCodeOriginId, 'cost_code', where);
    add('ENTITY_STANDARD_CATEGORY', l.categoryOriginId, 'category', where);
    add('line', l.contractLineOriginId, 'contract_line', where);
  });
  return [...out.values()];
}

/** resolve sets the fields that follow from the references. It refuses a reference to a record that does not exist. */
export function resolve(tx: Tx, r: Rec): void {
  inherit(tx, r);
  for (const { entity, origin, field, where } of refsOf(r)) {
    const row = entity === 'line' ? tx.books.ownerOf(origin) : tx.find(entity, origin);
    const label = field.replaceAll('_', ' ');
    if (!row) {
      throw new Refusal(field, `The ${label}${where} of the ${call(r)} is unknown in Filebooks (it has no ${label} with the id "${origin}"). Export the ${label} first, then export this record again.`);
    }
    if (row.deleted) {
      throw new Refusal(field, `The ${label}${where} of the ${call(r)}, "${origin}", was deleted in Filebooks. Choose another ${label} or export it again, then export this record again.`);
    }
  }
}

/** inherit takes the job and the vendor from the requisition, contract or cost code that a record names. */
function inherit(tx: Tx, r: Rec): void {
  const from = (entity: Entity | undefined, origin: string | undefined): void => {
    const src = entity && origin ? tx.find(entity, origin)?.rec : undefined;
    if (!src) return;
    if (!r.jobOriginId) {
      r.jobOriginId = src.jobOriginId;
      r.subJobOriginId ||= src.subJobOriginId;
    }
    r.vendorOriginId ||= src.vendorOriginId;
    if (src.entity === 'ENTITY_REQUISITION') r.contractOriginId ||= src.contractOriginId;
  };
  if (r.entity === 'ENTITY_PAYMENT') from('ENTITY_REQUISITION', r.parentOriginId);
  from(contracts[r.entity], r.contractOriginId);
  from('ENTITY_COST_CODE', r.costCodeOriginId);
}
