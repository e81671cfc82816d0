// A company's ERP: all calls go through one queue, and writes are committed in groups.
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { Books, change, type Entry, Tx } from './books.js';
import { type Entity, type FindRequest, type ListRequest, type PutRequest, type RemoveRequest, type StateRequest, traits } from './contract.js';
import { Journal } from './journal.js';
import { Refusal, Status } from './problem.js';
import { put } from './put.js';
import { remove } from './remove.js';
import { refusal, superseded } from './superseded.js';

const groupMax = 256;
const pageDefault = 500;
const pageMax = 1000;

/** Caller reports whether the caller still waits for the answer. */
export type Caller = () => boolean;

interface Op { caller: Caller; run: () => [answer: object, entry?: Entry]; resolve: (answer: object) => void; reject: (err: unknown) => void }

export class Company {
  private readonly books = new Books();
  private readonly waiting: Op[] = [];
  private committing: Promise<void> | undefined;
  private journal!: Journal<Entry>;

  private constructor(private readonly own: string) {}

  /** open opens the books of a company; own is its currency. */
  static async open(folder: string, id: string, own = 'USD'): Promise<Company> {
    const c = new Company(own);
    c.journal = await Journal.open<Entry>(join(folder, `company-${id}.jsonl`), (e) => c.books.apply(e));
    return c;
  }

  put(q: PutRequest, caller: Caller): Promise<object> {
    const { key, record } = q;
    if (!key || !record) throw new Refusal('key', 'Filebooks books nothing without a key and a record.');
    const { title } = traitOf(record.entity);
    return this.do(caller, () => {
      const before = this.books.keys.get(key);
      if (before && before.entity !== record.entity) {
        throw new Refusal('', `The key "${key}" belongs to a ${traits[before.entity].title} in Filebooks, not to a ${title}.`);
      }
      if (before) return [{ booking: before.booking }];
      const tx = new Tx(this.books);
      const booking = put(tx, q, record, this.own);
      return [{ booking }, { ...tx.entry(`put for request ${q.request ?? 0}`), key, entity: record.entity, booking }];
    });
  }

  find({ key = '', entity }: FindRequest, caller: Caller): Promise<object> {
    return this.do(caller, () => {
      const found = this.books.keys.get(key);
      return [found && (!entity || entity === found.entity) ? { booking: found.booking } : {}];
    });
  }

  state({ entity, originId }: StateRequest, caller: Caller): Promise<object> {
    traitOf(entity);
    return this.do(caller, () => {
      const row = this.books.find(entity!, originId);
      return [{ state: !row ? 'RECORD_STATE_UNKNOWN' : row.deleted ? 'RECORD_STATE_DELETED' : 'RECORD_STATE_PRESENT' }];
    });
  }

  remove(q: RemoveRequest, caller: Caller): Promise<object> {
    traitOf(q.entity);
    return this.do(caller, () => {
      const row = this.books.find(q.entity!, q.originId);
      if (!row || row.deleted) return [{}];
      if (superseded(row, q)) throw refusal(row.rec);
      const tx = new Tx(this.books);
      remove(tx, row);
      return [{}, tx.entry(`removed ${q.key ?? ''}`)];
    });
  }

  /** list returns changes in order. A cursor is the number of the last change listed. */
  list(q: ListRequest, caller: Caller): Promise<object> {
    traitOf(q.entity);
    return this.do(caller, () => {
      let cursor = this.cursor(q.cursor);
      const limit = Math.min(q.limit && q.limit > 0 ? q.limit : pageDefault, pageMax);
      const changes = [];
      for (const row of this.books.changes(q.entity!, cursor)) {
        const { jobOriginId, subJobOriginId, parentOriginId } = row.rec;
        if (q.jobOriginId && q.jobOriginId !== jobOriginId || q.subJobOriginId && q.subJobOriginId !== subJobOriginId ||
          q.parentOriginId && q.parentOriginId !== parentOriginId) continue;
        if (changes.length === limit) return [{ changes, cursor: cursor.toString(36), more: true }];
        changes.push(change(row));
        cursor = row.seq;
      }
      return [{ changes, cursor: cursor.toString(36), more: false }];
    });
  }

  private cursor(s = ''): number {
    const n = s === '' ? 0 : /^[0-9a-z]{1,10}$/.test(s) ? parseInt(s, 36) : NaN;
    if (n <= this.books.seq) return n;
    throw new Refusal('cursor', `The cursor "${s}" is not one of Filebooks. Start over without a cursor.`);
  }

  /** close waits for the current commit. */
  async close(): Promise<void> {
    await this.committing;
    await this.journal.close();
  }

  private do(caller: Caller, run: Op['run']): Promise<object> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ caller, run, resolve, reject });
      this.committing ??= this.drain();
    });
  }

  /**
   * drain runs the waiting calls one after the other, writes all entries with one sync, then answers.
   * Reads wait for the sync too, so that no answer contains data that a crash could undo.
   */
  private async drain(): Promise<void> {
    await Promise.resolve(); // calls of the same turn share a commit
    while (this.waiting.length > 0) {
      const entries: Entry[] = [];
      const answers = this.waiting.splice(0, groupMax).map((op) => this.attempt(op, entries));
      try {
        if (entries.length > 0) await this.journal.append(entries);
      } catch (err) {
        // Memory is ahead of the disk by an unknown part. Only a restart reads the true state.
        console.error('the journal can not be written; stopping', err);
        process.exit(1);
      }
      for (const answer of answers) answer();
    }
    this.committing = undefined; // in the same turn as the last check; a call that came in between would wait forever
  }

  private attempt({ caller, run, resolve, reject }: Op, entries: Entry[]): () => void {
    if (!caller()) return () => reject(new Status(status.CANCELLED, 'the caller is gone; nothing was done'));
    try {
      const [answer, entry] = run();
      if (entry) {
        this.books.apply(entry);
        entries.push(entry);
      }
      return () => resolve(answer);
    } catch (err) {
      return () => reject(err);
    }
  }
}

function traitOf(e: Entity | undefined): (typeof traits)[Entity] {
  const t = e && traits[e];
  if (!t) throw new Refusal('', `Filebooks has no records of the kind ${e ?? 'unspecified'}.`);
  return t;
}
