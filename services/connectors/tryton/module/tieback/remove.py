"""Removes a record from the books for a reset.

    removed                          how                   also removed                prevents it
    vendor                           archived              -                           its documents
    job, sub job, cost code          archived              all accounts under it       documents on them
    cost type, standard cost code    archived              a type's assignments        documents on them
    contract, change order           cancelled             -                           what bills or changes it
    invoice                          reversed              -                           its payments
    payment                          reversed, unlinked    -                           -

The code of an archived record can be used again.
"""
from trytond.model import Model
from trytond.pool import Pool
from trytond.rpc import RPC
from trytond.transaction import Transaction

from .book import lock
from .record import Refused

DEPENDENTS = {  # the entities that depend on an entity, by the column that names it
    'vendor': [('vendor', None)],
    'job': [('job', None)],
    'sub_job': [('sub_job', None)],
    'commitment': [('contract', ['commitment_change_order', 'requisition', 'payment'])],
    'prime_contract': [('contract', ['prime_contract_change_order', 'payment_application'])],
    'requisition': [('parent', ['payment'])],
    }

ACCOUNTS = {'standard_cost_code', 'standard_category', 'job', 'sub_job', 'cost_code', 'cost_type_assignment', 'job_cost'}


class Remove(Model):
    "Procore Reset"
    __name__ = 'tieback.remove'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__rpc__['remove'] = RPC(readonly=False)

    @classmethod
    def remove(cls, entity, origin, order='', order_latest=''):
        """Remove a record from the books. It is not an error if they do not have it. Without an
        order, the removal comes from the company's own users and is never superseded."""
        lock('tieback.resets', 'EXCLUSIVE')
        Record = Pool().get('tieback.record')
        mapping = Record.of(entity, origin)
        if not mapping or not mapping.live:
            return False
        mapping.refuse_superseded(order, order_latest)
        with Transaction().set_context(active_test=False):
            resource = Pool().get(mapping.model)(mapping.resource)
            refuse(mapping, dependents(mapping, resource))
            getattr(cls, 'remove_' + mapping.model.replace('.', '_'))(resource)
        return True

    @classmethod
    def remove_party_party(cls, party):
        type(party).write([party], {'active': False, 'code': '%s (removed %d)' % (party.code, party.id)})

    @classmethod
    def remove_analytic_account_account(cls, account):
        accounts = below(account)
        type(account).write(accounts, {'active': False})

    @classmethod
    def remove_purchase_purchase(cls, order):
        Order = type(order)
        if order.state == 'confirmed':
            Order.draft([order])
        Order.cancel([Order(order.id)])
        if Order(order.id).state != 'cancelled':
            raise Refused('', "%s is %s in Tryton and can no longer be cancelled there. "
                "Close it in Tryton, then reset it again." % (order.rec_name, order.state))

    remove_sale_sale = remove_purchase_purchase

    @classmethod
    def remove_account_invoice(cls, invoice):
        Invoice = type(invoice)
        if invoice.state == 'paid':
            return cancel_paid(invoice)
        Invoice.cancel([Invoice(invoice.id)])
        if Invoice(invoice.id).state != 'cancelled':
            raise Refused('', "Invoice %s is %s in Tryton and could not be reversed. Reverse it in Tryton, "
                "then reset it again." % (invoice.rec_name, invoice.state))

    @classmethod
    def remove_account_move(cls, move):
        Move, Line = type(move), Pool().get('account.move.line')
        Invoice = Pool().get('account.invoice')
        Link = Pool().get('account.invoice-account.move.line')
        paid = [l.invoice for l in Link.search([('line', 'in', [l.id for l in move.lines])])]
        with Transaction().set_context(_check_access=False):  # as Tryton's own buttons do
            unlink(move.lines)
            Invoice.process(Invoice.browse([i.id for i in paid]))  # no longer paid
            Invoice.remove_payment_lines(move.lines)
        back = move.cancel()
        Move.post([back])
        by_account = {}
        for line in Move(move.id).lines + Move(back.id).lines:
            if line.account.reconcile:
                by_account.setdefault(line.account, []).append(line)
        for lines in by_account.values():
            Line.reconcile(lines)


def cancel_paid(invoice):
    """Cancel an invoice of amount zero: it is paid as soon as it is posted, and Tryton does not cancel
    paid invoices. Its reconciled lines stay reconciled, as they add up to zero."""
    Move = Pool().get('account.move')
    back = invoice.move.cancel()
    Move.post([back])
    type(invoice).write([invoice], {'cancel_move': back.id, 'state': 'cancelled'})


def unlink(lines):
    Reconciliation = Pool().get('account.move.reconciliation')
    found = list({l.reconciliation for l in lines if l.reconciliation})
    if found:
        Reconciliation.delete(found)


def below(account):
    "Return an account, all accounts below it, and the assignments of a cost type."
    Account = type(account)
    return Account.search([('active', '=', True), ['OR',
                ('parent', 'child_of', [account.id]), ('tieback_cost_type', '=', account.id)]])


def dependents(mapping, resource):
    "Return the live documents that depend on a record."
    Record = Pool().get('tieback.record')
    found = {}
    for column, entities in DEPENDENTS.get(mapping.entity, []):
        domain = [('live', '=', True), (column, '=', mapping.origin)]
        domain.append(('entity', 'in', entities) if entities else ('model', '!=', 'analytic_account.account'))
        found.update((f.id, f) for f in Record.search(domain))
    if mapping.entity in ACCOUNTS:
        Entry = Pool().get('analytic.account.entry')
        entries = Entry.search([('account', 'in', [a.id for a in below(resource)])])
        lines = [e.origin for e in entries if e.origin]
        documents = [getattr(l, {'purchase.line': 'purchase', 'sale.line': 'sale'}.get(l.__name__, 'invoice'), None)
            for l in lines]
        found.update((f.id, f) for d in documents if d for f in mappings_of(d))
        if not found and mapping.entity in {'cost_code', 'standard_category'}:
            found.update((f.id, f) for f in named_by_lines(mapping))
    if mapping.model in {'purchase.purchase', 'sale.sale'}:
        Line = Pool().get('account.invoice.line')
        billed = Line.search([('origin', 'in', [str(l) for l in resource.lines])])
        found.update((f.id, f) for l in billed if l.invoice for f in mappings_of(l.invoice))
    found.pop(mapping.id, None)
    return list(found.values())


def named_by_lines(mapping):
    "Return the documents with a line that has a cost code without a cost type, or a cost type without a cost code."
    Record = Pool().get('tieback.record')
    name = {'cost_code': 'costCodeOriginId', 'standard_category': 'categoryOriginId'}[mapping.entity]
    return Record.search([('live', '=', True), ('model', '!=', 'analytic_account.account'),
            ('data', 'like', '%%"%s":"%s"%%' % (name, mapping.origin))])


def mappings_of(document):
    Record = Pool().get('tieback.record')
    return Record.search([('live', '=', True), ('model', '=', document.__name__), ('resource', '=', document.id)])


def refuse(mapping, on):
    if not on:
        return
    names = ['%s %s' % (f.entity.replace('_', ' '), called(f)) for f in on[:3]]
    more = ' and %d more' % (len(on) - 3) if len(on) > 3 else ''
    raise Refused('', "The %s can't be deleted: %s%s %s on it. Delete that first." % (
            mapping.entity.replace('_', ' '), ', '.join(names), more, 'depends' if len(on) == 1 else 'depend'))


def called(mapping):
    record = Pool().get(mapping.model)(mapping.resource)
    return getattr(record, 'reference', None) or getattr(record, 'number', None) or mapping.origin
