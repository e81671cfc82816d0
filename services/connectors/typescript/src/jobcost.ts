// A job cost has the sums of a cost code and a category: amount is the budget, actualAmount the cost to date. Every
// budget, requisition and direct cost changes them in the same write.
import type { Row, Tx } from './books.js';
import { assignmentId, type Entity, type Rec } from './contract.js';
import { add, isZero, negate } from './decimal.js';

const moves: Partial<Record<Entity, 'amount' | 'actualAmount'>> = {
  ENTITY_BUDGET: 'amount', ENTITY_REQUISITION: 'actualAmount', ENTITY_DIRECT_COST: 'actualAmount',
};

/** accrue adds the difference between a row and its previous state. A removal does not restore a removed job cost. */
export function accrue(tx: Tx, now: Row, before?: Row): void {
  const field = moves[now.rec.entity];
  if (!field) return;
  const sums = new Map<string, { costCode: string; category: string; sum: string }>();
  const count = (row: Row | undefined, signed: (s?: string) => string): void => {
    for (const { costCodeOriginId: costCode, categoryOriginId: category, amount } of !row || row.deleted ? [] : row.rec.lines) {
      if (!costCode || !category) continue;
      const id = assignmentId(costCode, category);
      sums.set(id, { costCode, category, sum: add(sums.get(id)?.sum, signed(amount)) });
    }
  };
  count(now, (s = '') => s);
  count(before, negate);
  for (const { costCode, category, sum } of sums.values()) {
    if (isZero(sum)) continue;
    const row = jobCost(tx, costCode, category);
    tx.save({ ...row, deleted: now.deleted && row.deleted, rec: { ...row.rec, [field]: add(row.rec[field], sum) } });
  }
}

/** openJobCost creates the job cost of an assignment, unless it is live. */
export function openJobCost(tx: Tx, assignment: Rec): void {
  const row = jobCost(tx, assignment.costCodeOriginId!, assignment.categoryOriginId!);
  if (row.deleted || row.seq === 0) tx.save({ ...row, deleted: false });
}

/** setJobCost is the Put of a job cost. A missing amount is left unchanged. */
export function setJobCost(tx: Tx, r: Rec, orderLatest = ''): Row {
  const row = jobCost(tx, r.costCodeOriginId!, r.categoryOriginId!);
  const rec = { ...row.rec, procoreId: r.procoreId ?? row.rec.procoreId, name: r.name || row.rec.name, description: r.description || row.rec.description };
  rec.amount = r.amount || rec.amount;
  rec.actualAmount = r.actualAmount || rec.actualAmount;
  return tx.save({ ...row, rec, deleted: false, orderLatest: orderLatest > row.orderLatest ? orderLatest : row.orderLatest });
}

function jobCost(tx: Tx, costCodeOriginId: string, categoryOriginId: string): Row {
  const originId = assignmentId(costCodeOriginId, categoryOriginId);
  const code = tx.find('ENTITY_COST_CODE', costCodeOriginId)?.rec;
  return tx.find('ENTITY_JOB_COST', originId) ?? {
    deleted: false, lines: 0, orderLatest: '', seq: 0,
    rec: {
      entity: 'ENTITY_JOB_COST', originId, costCodeOriginId, categoryOriginId, amount: '0', actualAmount: '0',
      jobOriginId: code?.jobOriginId, subJobOriginId: code?.subJobOriginId, lines: [],
    },
  };
}
