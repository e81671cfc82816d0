// The journal: one file per company, with one JSON line for each write. A write is on disk before any call is
// answered. The state in memory is that of a replay of the file.
import { mkdirSync, openSync, closeSync, fsyncSync, readFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';

export class Journal<E> {
  private constructor(private readonly file: FileHandle) {}

  /**
   * open replays the file and opens it for more entries. A last line without its end is a write that a crash cut off,
   * before it was answered: open removes it. Any other line that can't be parsed is damage, and an error.
   */
  static async open<E>(path: string, replay: (e: E) => void): Promise<Journal<E>> {
    mkdirSync(dirname(path), { recursive: true });
    const file = await open(path, 'a+');
    const raw = readFileSync(path);
    const whole = raw.lastIndexOf('\n') + 1;
    const lines = raw.subarray(0, whole).toString('utf8').split('\n').slice(0, -1);
    lines.forEach((line, i) => {
      try {
        replay(JSON.parse(line) as E);
      } catch (err) {
        throw new Error(`${path}: line ${i + 1} is damaged; restore the file from a backup: ${err}`);
      }
    });
    if (whole < raw.length) await file.truncate(whole);
    await file.sync();
    syncFolder(dirname(path)); // otherwise a crash could lose the name of a new file
    return new Journal<E>(file);
  }

  /** append writes entries together, and resolves when they are on disk. */
  async append(entries: E[]): Promise<void> {
    await this.file.appendFile(entries.map((e) => JSON.stringify(e) + '\n').join(''));
    await this.file.datasync();
  }

  close(): Promise<void> { return this.file.close(); }
}

function syncFolder(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
}
