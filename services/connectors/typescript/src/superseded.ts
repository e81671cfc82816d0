// An older ERP request that comes late does not overwrite what a newer one wrote. Of two requests whose order is unknown,
// because the time of one is known only in seconds, the first one booked stays.
import type { Row } from './books.js';
import { call, type PutRequest, type Rec, type RemoveRequest } from './contract.js';
import { Refusal } from './problem.js';

/** requestOf returns the id of the request, in which an order ends. A request may be known with less precision than before. */
const requestOf = (order: string): string => order.slice(order.lastIndexOf('-') + 1);

/** superseded reports whether a request must not change or remove a row; see PutRequest.order. Without an order, the request comes from the ERP's own users. */
export const superseded = (row: Row, { order = '' }: PutRequest | RemoveRequest): boolean =>
  order !== '' && order < row.orderLatest && requestOf(order) !== requestOf(row.orderLatest);

export const refusal = (r: Rec): Refusal => new Refusal('request', `A newer request, or one made in the same second, has already changed the ${call(r)}.`);
