"""Mappings: a row for each record that Procore has or may have, and the log of their changes."""
import json

from trytond import backend
from trytond.exceptions import UserError
from trytond.model import ModelSQL, Unique, fields
from trytond.model.exceptions import SQLConstraintError
from trytond.pool import Pool
from trytond.rpc import RPC
from trytond.transaction import Transaction

OWNERS = ['job', 'sub_job', 'vendor', 'contract', 'parent', 'cost_code', 'category']


# The models of the entities; the others are analytic accounts.
MODEL_OF = {
    'vendor': 'party.party', 'commitment': 'purchase.purchase', 'commitment_change_order': 'purchase.purchase',
    'prime_contract': 'sale.sale', 'prime_contract_change_order': 'sale.sale',
    'requisition': 'account.invoice', 'direct_cost': 'account.invoice', 'payment_application': 'account.invoice',
    'payment': 'account.move',
}


class Refused(UserError):
    "A refusal for the accountant; field is the record's field as Procore's users know it."

    def __init__(self, field, sentence):
        super().__init__(sentence, 'field:' + field)


class retried:
    """If another transaction has inserted the same row, the dispatcher repeats the call, which
    then sees the row."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, SQLConstraintError):
            raise backend.DatabaseOperationalError('written by another transaction') from error


class Record(ModelSQL):
    "Procore Record"
    __name__ = 'tieback.record'
    entity = fields.Char("Entity", required=True)
    origin = fields.Char("Origin id", required=True)
    model = fields.Char("Model", required=True)
    resource = fields.Integer("Record", required=True)
    company = fields.Many2One('company.company', "Company", ondelete='CASCADE')
    live = fields.Boolean("Live")
    slot = fields.Char("Code's Slot", help="Where the code is taken; empty where it is free.")
    order_latest = fields.Char("Order of the Latest ERP Request", help="The highest order_latest; see PutRequest.order.")
    procore = fields.BigInteger("Procore id")
    data = fields.Text("As Booked", help="What Procore sent, for what Tryton has no field for.")
    lines = fields.Text("Lines", help="Ids of the lines, in Procore's order.")
    job = fields.Char("Job")
    sub_job = fields.Char("Sub Job")
    vendor = fields.Char("Vendor")
    contract = fields.Char("Contract")
    parent = fields.Char("Parent")
    cost_code = fields.Char("Cost Code")
    category = fields.Char("Cost Type")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('origin_uniq', Unique(t, t.entity, t.origin), 'tieback.msg_taken'),
            ('slot_uniq', Unique(t, t.slot), 'tieback.msg_taken'),
            ]
        cls.__rpc__.update({
                'search_read': RPC(),
                'page': RPC(),
                'adopt': RPC(readonly=False),
                })

    @classmethod
    def __register__(cls, module_name):
        super().__register__(module_name)
        handler = cls.__table_handler__(module_name)
        handler.index_action(['model', 'resource'], 'add')
        for owner in OWNERS:
            handler.index_action(owner, 'add')

    @classmethod
    def default_live(cls):
        return True

    @classmethod
    def of(cls, entity, origin):
        "Return the mapping of an entity's origin id, or None."
        found = cls.search([('entity', '=', entity), ('origin', '=', origin)])
        return found[0] if found else None

    def refuse_superseded(self, order, order_latest):
        "Refuse a write if a newer request, or one made in the same second, wrote the record; see PutRequest.order."
        latest = self.order_latest or ''
        # A key ends in the id of its request, which may be known with less precision than before.
        same = order and order.rpartition('-')[2] == latest.rpartition('-')[2]
        if order and order < latest and not same:
            raise Refused('request', "A newer request, or one made in the same second, has already changed the %s."
                % self.entity.replace('_', ' '))

    @classmethod
    def put(cls, entity, origin, values):
        "Write or create a mapping, and log the change."
        mapping = cls.of(entity, origin)
        with retried(), Transaction().set_context(_check_access=False):
            if mapping:
                differ = {k: v for k, v in values.items() if plain(getattr(mapping, k)) != v}
                if differ:
                    cls.write([mapping], differ)
            else:
                mapping, = cls.create([dict(values, entity=entity, origin=origin)])
        Pool().get('tieback.change').log([mapping.id])
        return mapping

    @classmethod
    def adopt(cls, company, entity):
        "Create the mappings of records that are older than this module, or were written by SQL."
        cursor = Transaction().connection.cursor()
        cursor.execute(  # of another cluster, before a restore
            'UPDATE tieback_change SET txid = 0 WHERE txid >= txid_snapshot_xmax(txid_current_snapshot())'
            ' AND txid <> txid_current()')
        name = MODEL_OF.get(entity, 'analytic_account.account')
        Model = Pool().get(name)
        known, table = cls.__table__(), Model.__table__()
        where = ~table.id.in_(known.select(known.resource, where=known.model == name))
        if name == 'account.move':  # most moves pay no invoice
            line = Pool().get('account.move.line').__table__()
            link = Pool().get('account.invoice-account.move.line').__table__()
            where &= table.id.in_(link.join(line, condition=link.line == line.id).select(line.move))
        cursor.execute(*table.select(table.id, where=where))
        ids = [i for i, in cursor]
        with Transaction().set_context(active_test=False):
            Model.touch(Model.browse(ids))

    @classmethod
    def page(cls, entity, company, cursor, limit, only):
        """Mappings that changed between two snapshots of the database.

        The first page takes a snapshot. It and the next pages list what is visible in this snapshot
        and was not visible in the previous one; the pages after them list what was committed in the
        meantime. So no change is left out, however long its transaction took, and an unchanged record
        is not repeated. A snapshot is valid in one database cluster: after a restore into another one,
        the listing starts over.
        """
        Change = Pool().get('tieback.change')
        since, until, last, now = Change.read_cursor(cursor)
        rows = Change.between(entity, company, only, since, until, last, limit + 1)
        more, rows = len(rows) > limit, rows[:limit]
        if more:
            cursor = [since, until, rows[-1][1]]
        else:  # then list what changed during paging
            cursor = [until, '', 0]
            more = until != now and bool(Change.between(entity, company, only, until, now, 0, 1))
        mappings = {f['id']: f for f in cls.read([r[0] for r in rows], ['entity', 'origin', 'resource',
                    'live', 'procore', 'data', 'lines'] + OWNERS)}
        return {
            'mappings': [mappings[r[0]] for r in rows],
            'more': more,
            'cursor': json.dumps([Change.cluster()] + cursor, separators=(',', ':')),
            }


def plain(value):
    "Return a field's value in the form that write takes."
    return value.id if isinstance(value, ModelSQL) else value


class Change(ModelSQL):
    "Change of a Procore Record"
    __name__ = 'tieback.change'
    record = fields.Many2One('tieback.record', "Record", required=True, ondelete='CASCADE', select=True)
    txid = fields.BigInteger("Transaction", required=True)

    @classmethod
    def __register__(cls, module_name):
        super().__register__(module_name)
        cls.__table_handler__(module_name).index_action('txid', 'add')

    @classmethod
    def log(cls, mappings):
        "Log changes of mappings, one row per mapping and transaction. It never waits for another transaction."
        cursor = Transaction().connection.cursor()
        for mapping in mappings:
            cursor.execute('INSERT INTO tieback_change (record, txid) SELECT %s, txid_current()'
                ' WHERE NOT EXISTS (SELECT 1 FROM tieback_change WHERE record = %s AND txid = txid_current())',
                (mapping, mapping))

    @classmethod
    def between(cls, entity, company, only, since, until, last, limit):
        "Return the mappings that changed between two snapshots, ordered by their last change in between."
        where, args = ['r.entity = %s', '(r.company = %s OR r.company IS NULL)'], [entity, company]
        for owner, value in only.items():
            if owner not in OWNERS:
                raise Refused('cursor', "There is no owner %s." % owner)
            where.append('r.%s = %%s' % owner)
            args.append(value)
        if since:
            where.append('c.txid >= txid_snapshot_xmin(%s::txid_snapshot)'
                ' AND NOT txid_visible_in_snapshot(c.txid, %s::txid_snapshot)')
            args += [since, since]
        cursor = Transaction().connection.cursor()
        cursor.execute('SELECT r.id, max(c.id) FROM tieback_change c JOIN tieback_record r ON r.id = c.record'
            ' WHERE ' + ' AND '.join(where) + ' AND txid_visible_in_snapshot(c.txid, %s::txid_snapshot)'
            ' GROUP BY r.id HAVING max(c.id) > %s ORDER BY 2 LIMIT %s', args + [until, last, limit])
        return cursor.fetchall()

    @classmethod
    def cluster(cls):
        cursor = Transaction().connection.cursor()
        cursor.execute("SELECT system_identifier || '/' || d.oid || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)"
            " FROM pg_control_system(), pg_database d WHERE datname = current_database()")
        return cursor.fetchone()[0]

    @classmethod
    def read_cursor(cls, cursor):
        "Return the snapshots that a listing goes from and to, its last change, and the current snapshot."
        sql = Transaction().connection.cursor()
        sql.execute('SELECT txid_current_snapshot()::text')
        now, = sql.fetchone()
        if not cursor:
            return None, now, 0, now
        cluster, since, until, last = json.loads(cursor)
        bound = max(int(s.split(':')[1]) for s in (since, until) if s) if since or until else 0
        if cluster != cls.cluster() or bound > int(now.split(':')[1]):
            raise Refused('cursor', "The cursor is of another database. Start over without a cursor.")
        return since, until or now, last, now
