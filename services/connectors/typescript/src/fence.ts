// What a newer ERP request wrote, an older one that comes late does not overwrite.
import type { Row } from './books.js';
import { call, type Rec } from './contract.js';
import { Refusal } from './problem.js';

/** overtaken says whether a newer request wrote the row. Without an order it is the ERP's own people, whom nothing overtakes. */
export const overtaken = (row: Row, order = ''): boolean => order !== '' && order < row.order;

export const newer = (r: Rec): Refusal => new Refusal('request', `A newer request has already changed the ${call(r)}.`);
