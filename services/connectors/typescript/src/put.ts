// Put books a record under its key, with its lines and job costs.
import { type Row, scopeOf, Tx } from './books.js';
import { assignmentId, type Booking, call, type Line, type PutRequest, type Rec, traits } from './contract.js';
import { refusal, superseded } from './superseded.js';
import { accrue, openJobCost, setJobCost } from './jobcost.js';
import { Refusal } from './problem.js';
import { resolve } from './refs.js';
import { normalize, validate } from './validate.js';

/** put stages the record of q and returns its booking. own is the company's currency. The caller has checked that the key is new. */
export function put(tx: Tx, q: PutRequest, sent: Rec, own: string): Booking {
  let r = structuredClone(sent);
  normalize(r);
  const natural = traits[r.entity].prefix === ''; // the id consists of the references, so a deleted record is restored
  if (natural) r.originId = assignmentId(r.costCodeOriginId, r.categoryOriginId);
  const old = r.originId ? tx.find(r.entity, r.originId) : undefined;
  if (sent.originId && !natural) changeable(r, old);
  if (sent.originId && old && superseded(old, q)) r = lateLines(r, old);
  validate(r, own);
  resolve(tx, r);
  if (r.entity === 'ENTITY_JOB_COST') return booking(setJobCost(tx, r, q.orderLatest), [], q.stamp);
  const row: Omit<Row, 'seq'> = { rec: r, deleted: false, lines: old?.lines ?? 0, orderLatest: max(old?.orderLatest, q.orderLatest) };
  name(tx, r, old);
  const given = number(row, old);
  codeFree(tx, r);
  const saved = tx.save(row);
  if (r.entity === 'ENTITY_COST_TYPE_ASSIGNMENT') openJobCost(tx, r);
  accrue(tx, saved, old);
  return booking(saved, given, q.stamp);
}

const booking = ({ rec }: Row, lineOriginIds: string[], stamp?: string): Booking =>
  ({ originId: rec.originId!, originCode: rec.code, originData: rec.originData, lineOriginIds, stamp });

const max = (a = '', b = ''): string => (a > b ? a : b);

/** changeable refuses a change of a document, and of an unknown or deleted record. */
function changeable(r: Rec, old: Row | undefined): void {
  const { title, update } = traits[r.entity];
  if (!update) {
    throw new Refusal('origin_id', `The ${call(r)} is already in Filebooks, as ${r.originId}, and an export can't change it. Change it there, or reset it in Procore and export it again.`);
  }
  if (!old || old.deleted) {
    throw new Refusal('origin_id', `The ${title} ${r.originId} ${old ? 'was deleted' : 'is unknown'} in Filebooks, so it can't be changed. Reset it in Procore and export it again.`);
  }
}

/** lateLines returns the record of a superseded request: a budget still gets the lines that it does not have. */
function lateLines(r: Rec, old: Row): Rec {
  if (r.entity !== 'ENTITY_BUDGET') throw refusal(old.rec);
  const known = new Map(old.rec.lines.map((l) => [lineKey(l), l]));
  const lines = r.lines.map((l) => (l.procoreId && known.get(lineKey(l))) || l);
  return structuredClone({ ...old.rec, lines });
}

/** name assigns the origin id of a new record, and fills in what a change lacks. */
function name(tx: Tx, r: Rec, old: Row | undefined): void {
  if (!r.originId) {
    const prefix = r.entity === 'ENTITY_COMMITMENT' && r.kind === 'work_order_contract' ? 'WO' : traits[r.entity].prefix;
    r.originId = `${prefix}-${tx.books.count(r.entity) + 1}`;
  }
  r.procoreId ??= old?.rec.procoreId;
  r.originData ||= old?.rec.originData;
  r.code ||= old?.rec.code || (traits[r.entity].prefix ? r.number || r.originId : '');
}

const lineKey = (l: Line): string => `${l.kind ?? ''}/${l.procoreId ?? '0'}`;

/**
 * number assigns the origin ids of lines: PO-1-2. A line that is found by its origin id or Procore's id keeps its number
 * when its record is written again; no number is used twice. A budget keeps the lines that the record lacks, as Procore
 * sends only new ones. The result is in the order of the record's lines.
 */
function number(row: Omit<Row, 'seq'>, old: Row | undefined): string[] {
  const before = old?.rec.lines ?? [];
  const free = new Set(before);
  const lines = new Map<string, Line>(row.rec.entity === 'ENTITY_BUDGET' ? before.map((l) => [l.originId!, l]) : []);
  const given = row.rec.lines.map((l) => {
    const same = before.find((b) => free.has(b) && b.originId === l.originId) ??
      before.find((b) => free.has(b) && l.procoreId !== undefined && lineKey(b) === lineKey(l));
    if (same) free.delete(same);
    l.originId = same?.originId ?? `${row.rec.originId}-${++row.lines}`;
    lines.set(l.originId, l);
    return l.originId;
  });
  row.rec.lines = [...lines.values()];
  return given;
}

/** codeFree refuses a code that is taken. Procore lets the user choose another one only if the message has the word "code". */
function codeFree(tx: Tx, r: Rec): void {
  const { title } = traits[r.entity];
  const scope = scopeOf(r);
  const holder = scope && tx.books.holderOf(scope);
  if (!holder || holder.rec.originId === r.originId) return;
  const where = r.entity === 'ENTITY_SUB_JOB' ? ' of this job' : r.entity === 'ENTITY_COST_CODE' ? ` of this ${r.subJobOriginId ? 'sub job' : 'job'}` : '';
  throw new Refusal('code', `The ${title.endsWith('code') ? title : `${title} code`} "${r.code}" is already used by another ${title}${where} in Filebooks. Export the ${title} again with a different code.`);
}
