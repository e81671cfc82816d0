"""Books a record and its key in one transaction."""
import json
from decimal import Decimal

from trytond.model import ModelSQL, Unique, fields
from trytond.pool import Pool
from trytond.rpc import RPC
from trytond.transaction import Transaction

from .record import OWNERS, Refused, retried
from .track import postponed


NUMBERED = {'account.invoice', 'account.move'}  # numbered without gaps, so postings are serialized


class Resets(ModelSQL):
    "Its table lock serializes resets with bookings: a reset sees all records that depend on its own."
    __name__ = 'tieback.resets'


class Postings(ModelSQL):
    "Its table lock serializes postings, which would otherwise conflict on a number and be repeated."
    __name__ = 'tieback.postings'


def lock(name, mode):
    """Lock a table until the end of the transaction. LOCK TABLE takes no snapshot: if it is the first
    statement, the transaction sees what it waited for."""
    table = Pool().get(name)._table
    Transaction().connection.cursor().execute('LOCK TABLE "%s" IN %s MODE' % (table, mode))


def code_taken(entity, code):
    what = entity.replace('_', ' ')
    return Refused('code', "The %s code %r is already used by another %s in Tryton. "
        "Export the %s again with a different code; if it is the same %s, sync it from Tryton instead." % (what, code, what, what, what))


class Key(ModelSQL):
    "Procore Booking Key"
    __name__ = 'tieback.key'
    key = fields.Char("Key", required=True)
    entity = fields.Char("Entity", required=True)
    record = fields.Many2One('tieback.record', "Record", ondelete='CASCADE')
    booking = fields.Text("Booking")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [('key_uniq', Unique(t, t.key), 'tieback.msg_taken')]
        cls.__rpc__.update({
                'look': RPC(),
                'book': RPC(readonly=False),
                })

    @classmethod
    def look(cls, key, refs):
        "Return the booking of a key, or None, and the mappings of references, None for an unknown one."
        Record = Pool().get('tieback.record')
        booked = cls.search([('key', '=', key)])
        mappings = []
        for entity, origin in refs:
            mapping = Record.of(entity, origin)
            mappings.append(Record.read([mapping.id], ['entity', 'origin', 'resource', 'live', 'data', 'lines'] + OWNERS)[0]
                if mapping else None)
        return {
            'booking': booked[0].booking if booked else None,
            'entity': booked[0].entity if booked else None,
            'mappings': mappings,
            }

    @classmethod
    def book(cls, key, plan):
        """Carry out a plan and return its booking, or return the booking that the key already has.

        The key is inserted first: a concurrent call with the same key waits for it, is then
        repeated by the dispatcher, and finds the booking.
        """
        lock('tieback.resets', 'ROW SHARE')
        if plan['model'] in NUMBERED:
            lock('tieback.postings', 'EXCLUSIVE')
        booked = cls.search([('key', '=', key)])
        if booked:
            return booked[0].booking
        with retried(), Transaction().set_context(_check_access=False):
            claim, = cls.create([{'key': key, 'entity': plan['entity']}])
        mapping, booking = cls.carry_out(plan)
        with Transaction().set_context(_check_access=False):
            cls.write([claim], {'record': mapping.id, 'booking': json.dumps(booking)})
        return claim.booking

    @classmethod
    def carry_out(cls, plan):
        Record = Pool().get('tieback.record')
        cls.still_there(plan.get('expect') or [])
        for line in plan.get('contract_lines') or []:
            contract_line(line)
        with postponed({}) as later, Transaction().set_context(tieback_entity=plan['entity'],
                company=plan['company'], active_test=False):
            if plan.get('id'):
                cls.check_current(plan)
            record = cls.write_record(plan)
        with Transaction().set_context(tieback_entity=plan['entity'], active_test=False):
            for name, ids in later.items():
                Model = Pool().get(name)
                Model.touch(Model.search([('id', 'in', list(ids))]))
            Record.put(plan['entity'], plan.get('origin') or str(record.id),
                dict(plan['mapping'], model=plan['model'], resource=record.id))
            mapping = Record.of(plan['entity'], plan.get('origin') or str(record.id))
            lines = cls.line_ids(record, plan)
            with Transaction().set_context(_check_access=False):
                Record.write([mapping], {'lines': json.dumps(lines),
                        'order_latest': max(mapping.order_latest or '', plan.get('order_latest') or '')})
        code = plan.get('origin_code') or getattr(record, plan['code'])
        return mapping, {'origin_id': mapping.origin, 'origin_code': code or '', 'origin_data': plan.get('origin_data', ''),
            'line_origin_ids': [str(l) for l in lines], 'stamp': plan.get('stamp', '')}

    @classmethod
    def still_there(cls, expected):
        Record = Pool().get('tieback.record')
        for mapping in Record.search([('id', 'in', expected), ('live', '=', False)]):
            raise Refused(mapping.entity, "The %s %s was deleted in Tryton in the meantime. Choose another and export again."
                % (mapping.entity.replace('_', ' '), mapping.origin))

    @classmethod
    def check_current(cls, plan):
        "Lock the mapping until the end of the transaction, and refuse a change that is superseded."
        Record = Pool().get('tieback.record')
        mapping = Record.of(plan['entity'], plan.get('origin') or str(plan['id']))
        cursor = Transaction().connection.cursor()
        cursor.execute('SELECT id FROM tieback_record WHERE id = %s FOR UPDATE', (mapping.id,))
        if not mapping.live and not plan.get('origin', '').count('|'):
            raise Refused('origin_id', "The %s %s was deleted in Tryton in the meantime, so it can't be changed. "
                "Reset it in Procore and export it again." % (plan['entity'].replace('_', ' '), mapping.origin))
        mapping.refuse_superseded(plan.get('order'), plan.get('order_latest'))

    @classmethod
    def write_record(cls, plan):
        Model = Pool().get(plan['model'])
        values = plan['values']
        cls.free_code(plan, values)
        if plan.get('payment') is not None:
            return pay(plan, values)
        if plan.get('id') and not Model.search([('id', '=', plan['id'])]):
            plan['id'] = None  # an assignment whose account was deleted
        if plan.get('id'):
            record = Model(plan['id'])
            Model.write([record], values)
            return Model(record.id)
        if 'lines' in values:
            for line in values['lines']:
                leaf = line.pop('leaf', None)
                line['analytic_accounts'] = []  # the default is an empty entry for each root
                if leaf:
                    account = leaf_account(*leaf)
                    line['analytic_accounts'].append({'root': account.root.id, 'account': account.id})
            record = document(Model, values)
        else:
            record, = Model.create([values])
        for button in plan.get('buttons') or []:
            getattr(Model, button)([Model(record.id)])
        record = Model(record.id)
        cls.as_planned(record, plan)
        return record

    @classmethod
    def free_code(cls, plan, values):
        if plan['model'] != 'party.party' or not values.get('code'):
            return
        Party = Pool().get('party.party')
        if Party.search([('code', '=', values['code']), ('id', '!=', plan.get('id') or -1)]):
            raise code_taken('vendor', values['code'])

    @classmethod
    def as_planned(cls, record, plan):
        "Refuse a document that is in another state than planned, or has another amount: a button may have no effect."
        if plan.get('states') and record.state not in plan['states']:
            raise Refused('', "Tryton left the %s in the state %r, so it was not booked."
                % (plan['entity'].replace('_', ' '), record.state))
        if plan.get('total') is not None and record.untaxed_amount != plan['total']:
            raise Refused('amount', "Tryton would book the %s with %s instead of %s, so it was not booked."
                % (plan['entity'].replace('_', ' '), record.untaxed_amount, plan['total']))

    @classmethod
    def line_ids(cls, record, plan):
        if plan.get('payment') is not None:  # a move has lines of its own
            return ['%d-%d' % (record.id, i + 1) for i in range(plan['payment']['lines'])]
        if not plan.get('lines'):
            return []
        return [l.id for l in sorted(record.lines, key=lambda l: l.sequence or 0)][:plan['lines']]


def contract_line(reference):
    "Refuse a line of a contract that is unknown or cancelled."
    model, number = reference.split(',')
    found = Pool().get(model).search([('id', '=', int(number))])
    if not found or getattr(found[0], model.split('.')[0]).state == 'cancelled':
        raise Refused('contract_line', "The contract's line %s is %s in Tryton. Export its contract or change order first, "
            "then export this again." % (number, 'cancelled' if found else 'unknown'))


def document(Model, values):
    "Create a document as its form would: the address, accounts and terms come from the party."
    values = dict(values)
    record = Model(company=values.pop('company'))
    if 'type' in values:
        record.type = values.pop('type')
        record.on_change_type()
    record.party = values.pop('party')
    record.lines = ()
    record.on_change_party()
    if values.pop('with_account', False):
        record.account = record.on_change_with_account()
    for name, value in values.items():
        setattr(record, name, value)
    record.save()
    return record


def leaf_account(cost_code, category):
    "Return the account of a cost type of a cost code; it is created by the first booking on it."
    Account, Record = Pool().get('analytic_account.account'), Pool().get('tieback.record')
    mapping = Record.of('cost_type_assignment', cost_code + '|' + category)
    if mapping and mapping.live:
        return Account(mapping.resource)
    kind, parent = Account(int(category)), Account(int(cost_code))
    values = {'name': kind.name, 'code': kind.code, 'type': 'normal', 'state': 'opened', 'active': True,
        'company': parent.company.id, 'root': parent.root.id, 'parent': parent.id,
        'tieback_level': 'cost_type_assignment', 'tieback_cost_type': kind.id}
    there = Account.search([('id', '=', mapping.resource)]) if mapping else []
    if there:
        leaf, = there
        Account.write([leaf], values)
    else:
        leaf, = Account.create([values])
    with postponed(None):
        Account.touch([leaf])
    return Account(leaf.id)


def pay(plan, values):
    "Create a move from the bank to the vendor, and settle the invoice with it."
    pool = Pool()
    Invoice, Move, Period = pool.get('account.invoice'), pool.get('account.move'), pool.get('account.period')
    invoice = Invoice(plan['payment']['invoice']) if plan['payment'].get('invoice') else None
    party = invoice.party if invoice else pool.get('party.party')(plan['payment']['party'])
    amount = plan['payment']['amount']
    if invoice and invoice.currency != invoice.company.currency:
        raise Refused('currency', "Invoice %s is in %s, and payments are booked in %s only. Pay it in Tryton."
            % (invoice.reference or invoice.number, invoice.currency.code, invoice.company.currency.code))
    account = invoice.account if invoice else party.account_payable_used
    debit, credit = max(amount, Decimal(0)), max(-amount, Decimal(0))
    move, = Move.create([{
        'company': plan['company'], 'journal': values['journal'], 'date': values['date'],
        'period': Period.find(plan['company'], date=values['date']), 'description': values['description'],
        'origin': str(invoice) if invoice else None,
        'lines': [('create', [
            {'account': account.id, 'party': party.id, 'debit': debit, 'credit': credit},
            {'account': values['account'], 'debit': credit, 'credit': debit,
                'party': party.id if values.get('party_required') else None},
            ])]}])
    Move.post([move])
    if invoice and amount:
        settle(invoice, [l for l in move.lines if l.account == account])
    return Move(move.id)


def settle(invoice, lines):
    "Link a payment to its invoice. An invoice that is fully paid is reconciled, which sets its state to paid."
    Invoice, Line = Pool().get('account.invoice'), Pool().get('account.move.line')
    due = sum(l.credit - l.debit for l in invoice.lines_to_pay) \
        - sum(l.debit - l.credit for l in invoice.payment_lines)
    paid = sum(l.debit - l.credit for l in lines)
    if invoice.state != 'posted' or abs(paid) > abs(due) or paid * due < 0:
        raise Refused('amount', "The payment of %s is more than the %s that invoice %s still has to be paid. "
            "Correct the amount in Procore and export it again." % (paid, max(due, Decimal(0)), invoice.reference or invoice.number))
    Invoice.add_payment_lines({invoice: lines})
    invoice = Invoice(invoice.id)
    if paid == due:
        Line.reconcile([l for l in invoice.lines_to_pay + invoice.payment_lines if not l.reconciliation])
