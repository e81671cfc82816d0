// Remove marks a record as deleted. Master data that belongs to it is removed with it; documents that depend on it
// prevent the removal.
//
//   removed             removed with it                           prevented by
//   vendor              its insurances                            commitments, direct costs, …
//   job, sub job        sub jobs, cost codes, job costs, budget   every document of it
//   cost code           cost codes under it, assignments          lines of documents and budgets
//   standard category   its assignments and job costs             lines of documents and budgets
//   commitment          -                                         change orders, requisitions, payments
import type { Row, Tx } from './books.js';
import { call, entities, isDocument, type Rec } from './contract.js';
import { accrue } from './jobcost.js';
import { Refusal } from './problem.js';

export function remove(tx: Tx, row: Row): void {
  if (row.deleted) return;
  const on = blockers(tx, row.rec);
  if (on.length > 0) throw new Refusal('', `The ${call(row.rec)} can't be deleted: ${dependsOn(on)}. Delete that first.`);
  for (const d of along(tx, row.rec)) remove(tx, tx.find(d.rec.entity, d.rec.originId)!);
  const now = tx.find(row.rec.entity, row.rec.originId)!; // a removed budget may have changed a job cost
  accrue(tx, tx.save({ ...now, deleted: true }), now);
}

const byKind = (a: Row, b: Row): number => entities.indexOf(b.rec.entity) - entities.indexOf(a.rec.entity);

function dependents(tx: Tx, r: Rec): Row[] {
  return tx.live(tx.books.dependents(r.entity, r.originId)).sort(byKind);
}

/** blockers returns the live records that prevent a removal. */
function blockers(tx: Tx, r: Rec): Row[] {
  if (r.entity === 'ENTITY_JOB_COST') return [];
  if (r.entity === 'ENTITY_COST_TYPE_ASSIGNMENT') {
    return tx.live(tx.books.dependents('ENTITY_COST_CODE', r.costCodeOriginId)).filter(({ rec }) =>
      rec.lines.some((l) => l.costCodeOriginId === r.costCodeOriginId && l.categoryOriginId === r.categoryOriginId));
  }
  const onLines = r.lines.flatMap((l) => tx.live(tx.books.dependents('line', l.originId)))
    .filter(({ rec }) => rec.contractOriginId !== r.originId && !(rec.entity === r.entity && rec.originId === r.originId));
  return [...new Set([...dependents(tx, r).filter((d) => !owned(d.rec, r)), ...onLines])];
}

/** owned reports whether a dependent is removed with its owner. A budget belongs to its own job or sub job, not to those of its lines. */
function owned(d: Rec, owner: Rec): boolean {
  if (d.entity !== 'ENTITY_BUDGET') return !isDocument(d.entity);
  return owner.entity === 'ENTITY_JOB' ? d.jobOriginId === owner.originId : owner.entity === 'ENTITY_SUB_JOB' && d.subJobOriginId === owner.originId;
}

function along(tx: Tx, r: Rec): Row[] {
  if (r.entity !== 'ENTITY_COST_TYPE_ASSIGNMENT') return dependents(tx, r);
  const cost = tx.find('ENTITY_JOB_COST', r.originId);
  return cost ? [cost] : [];
}

function dependsOn(on: Row[]): string {
  const names = on.slice(0, 3).map((d) => call(d.rec)).join(', ');
  const more = on.length > 3 ? ` and ${on.length - 3} more` : '';
  return `${names}${more} ${on.length === 1 ? 'depends' : 'depend'} on it`;
}
