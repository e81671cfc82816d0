// The journal: one file a company, one JSON line for each write, on disk before anyone is
// answered. What is in memory is what replaying it gives.
import { mkdirSync, openSync, closeSync, fsyncSync, readFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';

export class Journal<E> {
  private constructor(private readonly file: FileHandle) {}

  /**
   * open replays the file and gives it ready for more. A last line without its end is a write
   * that a crash cut off: nobody was told of it, so it is cut away. Any other broken
   * line is damage, and refused.
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
    syncFolder(dirname(path)); // or a crash could lose the new file's name
    return new Journal<E>(file);
  }

  /** append writes entries together and comes back when they are on disk. */
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
