// A company's books in memory, with their indexes. They are changed only by applying entries of the journal.
import { type Booking, type Change, type Entity, type Rec, traits } from './contract.js';
import { refsOf } from './refs.js';

/** Row is a record of the books, deleted or not. */
export interface Row {
  rec: Rec;
  deleted: boolean;
  lines: number;   // the last line number
  orderLatest: string; // the highest of the ERP requests that wrote it; ASCII, compared as a string
  seq: number;     // of its last change
}

/** Entry is one write: the rows after it, and the booking of its key. */
export interface Entry { at: string; memo: string; rows: Row[]; key?: string; entity?: Entity; booking?: Booking }

export type Target = Entity | 'line';
const at = (entity: Target, origin: string): string => `${entity}/${origin}`;

/** scopeOf returns the scope in which the code of a record must be unique, or undefined if it need not be. */
export function scopeOf(r: Rec): string | undefined {
  if (!traits[r.entity].unique || !r.code) return undefined;
  const owner = r.entity === 'ENTITY_SUB_JOB' ? [r.jobOriginId] : r.entity === 'ENTITY_COST_CODE' ? [r.jobOriginId, r.subJobOriginId] : [];
  return JSON.stringify([r.entity, ...owner, r.code]);
}

export class Books {
  seq = 0;
  readonly keys = new Map<string, { entity: Entity; booking: Booking }>();
  private readonly rows = new Map<string, Row>();
  private readonly byEntity = new Map<Entity, Map<string, Row>>(); // in the order of change
  private readonly codes = new Map<string, Row>();
  private readonly lines = new Map<string, string>(); // line → its row
  private readonly users = new Map<string, Set<string>>(); // by target: the rows that refer to it

  find(entity: Entity, origin = ''): Row | undefined { return this.rows.get(at(entity, origin)); }

  /** ownerOf returns the row whose line has the origin id. */
  ownerOf(line: string): Row | undefined { return this.rows.get(this.lines.get(line) ?? ''); }

  holderOf(scope: string): Row | undefined { return this.codes.get(scope); }

  count(entity: Entity): number { return this.byEntity.get(entity)?.size ?? 0; }

  /** dependents returns the live rows that refer to a record or line. */
  dependents(entity: Target, origin = ''): Row[] {
    return [...(this.users.get(at(entity, origin)) ?? [])].flatMap((id) => this.rows.get(id) ?? []);
  }

  *changes(entity: Entity, after: number): Generator<Row> {
    for (const row of this.byEntity.get(entity)?.values() ?? []) if (row.seq > after) yield row;
  }

  apply(e: Entry): void {
    for (const row of e.rows) this.set(row);
    if (e.key && e.entity && e.booking) this.keys.set(e.key, { entity: e.entity, booking: e.booking });
  }

  private set(row: Row): void {
    const { entity, originId = '' } = row.rec;
    const id = at(entity, originId);
    const old = this.rows.get(id);
    if (old) this.index(id, old, false);
    this.rows.set(id, row);
    const all = this.byEntity.get(entity) ?? new Map<string, Row>();
    all.delete(originId); // a changed record goes to the end
    this.byEntity.set(entity, all.set(originId, row));
    for (const l of row.rec.lines) this.lines.set(l.originId ?? '', id);
    if (!row.deleted) this.index(id, row, true);
    this.seq = Math.max(this.seq, row.seq);
  }

  private index(id: string, row: Row, add: boolean): void {
    const scope = scopeOf(row.rec);
    if (scope && add) this.codes.set(scope, row);
    if (scope && !add && this.codes.get(scope) === row) this.codes.delete(scope);
    for (const ref of refsOf(row.rec)) {
      if (ref.weak) continue;
      const target = at(ref.entity, ref.origin);
      const users = this.users.get(target) ?? new Set<string>();
      if (add) this.users.set(target, users.add(id));
      else users.delete(id);
    }
  }
}

/** Tx collects the rows of one write. The books do not change until its entry is applied. */
export class Tx {
  private readonly staged = new Map<string, Row>();
  private seq: number;

  constructor(readonly books: Books) { this.seq = books.seq; }

  find(entity: Entity, origin = ''): Row | undefined { return this.staged.get(at(entity, origin)) ?? this.books.find(entity, origin); }

  /** live returns the current state of rows, without those that this write has deleted. */
  live(rows: Row[]): Row[] {
    return rows.map((r) => this.find(r.rec.entity, r.rec.originId) ?? r).filter((r) => !r.deleted);
  }

  save(row: Omit<Row, 'seq'>): Row {
    const saved = { ...row, seq: ++this.seq };
    this.staged.set(at(row.rec.entity, row.rec.originId ?? ''), saved);
    return saved;
  }

  entry(memo: string): Entry {
    const rows = [...this.staged.values()].sort((a, b) => a.seq - b.seq);
    return { at: new Date().toISOString(), memo, rows };
  }
}

/** change returns the change that List returns. A tombstone has only ids. */
export function change({ rec, deleted }: Row): Change {
  if (!deleted) return { record: rec };
  return { deleted, record: { entity: rec.entity, procoreId: rec.procoreId, originId: rec.originId, lines: [] } };
}
