// Checks of a record by itself.
import { call, isContract, type Rec, taxed, traits, withholds } from './contract.js';
import { isAmount, isZero } from './decimal.js';
import { Refusal } from './problem.js';

/** normalize trims the texts that users type, in place. */
export function normalize(r: Rec): void {
  for (const f of ['originId', 'code', 'name', 'currency', 'date', 'startsOn', 'endsOn'] as const) r[f] = r[f]?.trim();
  if (r.entity === 'ENTITY_INSURANCE') r.parentOriginId = r.vendorOriginId ||= r.parentOriginId;
}

/** validate refuses a record with invalid values. own is the company's currency, the only one that is accepted. */
export function validate(r: Rec, own: string): void {
  const have: Record<string, string | undefined> = {
    name: r.name, code: r.code, job: r.jobOriginId, vendor: r.vendorOriginId, contract: r.contractOriginId,
    cost_code: r.costCodeOriginId, category: r.categoryOriginId,
  };
  for (const field of traits[r.entity].needs) {
    if (have[field]) continue;
    const label = field.replaceAll('_', ' ');
    throw new Refusal(field, field === 'name' || field === 'code'
      ? `The ${call(r)} has no ${label}. Give it a ${label} and export it again.`
      : `The ${call(r)} has no ${label} in Filebooks. Export its ${label} first, then export it again.`);
  }
  if (r.entity === 'ENTITY_JOB_COST' && r.lines.length > 0) throw new Refusal('lines', `The ${call(r)} has lines, and a job cost has none in Filebooks.`);
  if (r.currency && r.currency !== own) throw new Refusal('currency', `The ${call(r)} is in "${r.currency}", and Filebooks keeps its books in ${own} only. Enter it there by hand.`);
  for (const [field, value] of [['date', r.date], ['starts_on', r.startsOn], ['ends_on', r.endsOn]] as const) {
    if (value && !isDate(value)) throw new Refusal(field, `The date "${value}" of the ${call(r)} is not a date of the form YYYY-MM-DD.`);
  }
  amounts(r, '', [['amount', r.amount], ['actual_amount', r.actualAmount], ['tax_amount', r.taxAmount], ['retainage_percent', r.retainagePercent]]);
  r.lines.forEach((l, i) => amounts(r, ` of line ${i + 1}`, [
    ['amount', l.amount], ['tax_amount', l.taxAmount], ['retainage', l.retainage], ['quantity', l.quantity], ['unit_cost', l.unitCost],
    ['retainage_percent', l.retainagePercent],
  ]));
  terms(r);
}

/** terms refuses tax and retainage that Filebooks does not book. */
function terms(r: Rec): void {
  const some = (s?: string): boolean => !!s && !isZero(s);
  if (some(r.retainagePercent) && !isContract(r.entity)) throw new Refusal('retainage', `The ${call(r)} has a retainage of ${r.retainagePercent} percent, and only contracts have one in Filebooks.`);
  r.lines.forEach((l, i) => {
    if (some(l.retainage) && !withholds(r.entity)) throw new Refusal('retainage', `Line ${i + 1} of the ${call(r)} has a retainage of ${l.retainage}, which Filebooks does not keep there.`);
    if (l.taxCodeOriginId && !l.taxAmount && !r.taxAmount) {
      throw new Refusal('tax', `Line ${i + 1} of the ${call(r)} has the tax code "${l.taxCodeOriginId}" and no tax amount, and Filebooks computes no tax. Enter the tax amount in Procore and export it again.`);
    }
  });
  if (!taxed(r.entity) && (some(r.taxAmount) || r.lines.some((l) => l.taxCodeOriginId || some(l.taxAmount)))) {
    throw new Refusal('tax', `The ${call(r)} has a tax, which Filebooks does not keep there.`);
  }
}

function amounts(r: Rec, where: string, all: [string, string | undefined][]): void {
  for (const [field, value] of all) {
    if (isAmount(value)) continue;
    throw new Refusal(field, `The ${field.replaceAll('_', ' ')} "${value}"${where} of the ${call(r)} is not a number that Filebooks can book. ` +
      'Give it at most 18 digits and 12 decimals, such as 1234.50, and export it again.');
  }
}

function isDate(s: string): boolean {
  const d = new Date(`${s}T00:00:00Z`);
  return /^\d{4}-\d{2}-\d{2}$/.test(s) && !Number.isNaN(d.getTime()) && d.toISOString().startsWith(s);
}
