"""Extends the standard models, so that their changes are logged.

    model                       mapping                                also changed by
    party.party                 vendor                                 its addresses, contact mechanisms
    analytic_account.account    job, sub job, cost code, ...           -
    (an assignment's account)   job cost                               analytic lines
    purchase.purchase           commitment, its change orders          its lines
    sale.sale                   prime contract, its change orders      its lines
    account.invoice             requisition, direct cost, application  its lines
    account.move                payment                                its link to an invoice
"""
import threading
from contextlib import contextmanager

from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

OTHER = {'commitment': 'commitment_change_order', 'prime_contract': 'prime_contract_change_order'}
POSTPONED = threading.local()
CODED = {'job', 'sub_job', 'cost_code', 'standard_cost_code', 'standard_category'}


@contextmanager
def postponed(ids):
    """Collect the ids of changed records by model instead of writing their mappings each time: a booking
    changes its record a dozen times. With None, mappings are written at once. A transaction stays in its thread."""
    before, POSTPONED.ids = getattr(POSTPONED, 'ids', None), ids
    try:
        yield ids
    finally:
        POSTPONED.ids = before


class Tracked:
    "A model whose records have mappings."
    __slots__ = ()

    @classmethod
    def create(cls, vlist):
        records = super().create(vlist)
        cls.touch(records)
        return records

    @classmethod
    def write(cls, *args):
        super().write(*args)
        cls.touch(sum((list(r) for r in args[::2]), []))

    @classmethod
    def delete(cls, records):
        Record = Pool().get('tieback.record')
        ids = [r.id for r in records]
        super().delete(records)
        for mapping in Record.search([('model', '=', cls.__name__), ('resource', 'in', ids)]):
            Record.put(mapping.entity, mapping.origin, {'live': False, 'slot': None})

    @classmethod
    def touch(cls, records):
        "Update the mappings of records and log the changes. A booking does so once, at its end."
        Record = Pool().get('tieback.record')
        later = getattr(POSTPONED, 'ids', None)
        if later is not None:
            later.setdefault(cls.__name__, set()).update(r.id for r in records)
            return
        with Transaction().set_context(active_test=False, _check_access=False):
            for record in cls.browse([r.id for r in records]):
                current = set()
                for entity, origin, values in record.mappings():
                    current.add((entity, origin))
                    values['slot'] = record.slot(entity, origin, values)
                    Record.put(entity, origin, dict(values, model=cls.__name__, resource=record.id))
                for mapping in Record.search([('model', '=', cls.__name__), ('resource', '=', record.id), ('live', '=', True)]):
                    if (mapping.entity, mapping.origin) not in current:  # the record is another entity now
                        Record.put(mapping.entity, mapping.origin, {'live': False, 'slot': None})

    def slot(self, entity, origin, values):
        return None

    def hidden(self):
        "Report whether the record is a draft that a user is entering, which is not listed yet."
        Record = Pool().get('tieback.record')
        return self.state == 'draft' and not Record.search([('model', '=', self.__name__), ('resource', '=', self.id)])

    def booked(self, usual, *others):
        "Return the entity that the record was booked as, or else the usual one."
        Record = Pool().get('tieback.record')
        known = Record.search([('model', '=', self.__name__), ('resource', '=', self.id)], limit=1)
        asked = Transaction().context.get('tieback_entity')
        if known:
            return known[0].entity
        return asked if asked in (usual,) + others else usual


class Part:
    "A model whose changes are changes of the record that it belongs to."
    __slots__ = ()

    @classmethod
    def create(cls, vlist):
        records = super().create(vlist)
        cls.touch_owners(cls.owners(records))
        return records

    @classmethod
    def write(cls, *args):
        records = sum((list(r) for r in args[::2]), [])
        before = cls.owners(records)
        super().write(*args)
        cls.touch_owners(before | cls.owners(records))

    @classmethod
    def delete(cls, records):
        before = cls.owners(records)
        super().delete(records)
        cls.touch_owners(before)

    @classmethod
    def owners(cls, records):
        return {getattr(r, cls._owner()) for r in cls.browse([r.id for r in records])} - {None}

    @classmethod
    def touch_owners(cls, owners):
        "An owner that is deleted with its parts has logged that itself."
        if owners:
            Owner = type(next(iter(owners)))
            with Transaction().set_context(active_test=False, _check_access=False):
                Owner.touch(Owner.search([('id', 'in', [o.id for o in owners])]))


class Party(Tracked, metaclass=PoolMeta):
    __name__ = 'party.party'
    tieback_stand_in = fields.Char("Stands In for Procore's", readonly=True,
        help="Documents without a party are booked on this one. It is not a vendor.")

    def mappings(self):
        Company = Pool().get('company.company')
        if not self.tieback_stand_in and not Company.search([('party', '=', self.id)]):
            yield 'vendor', str(self.id), {'live': bool(self.active)}


class Address(Part, metaclass=PoolMeta):
    __name__ = 'party.address'

    @classmethod
    def _owner(cls):
        return 'party'


class ContactMechanism(Part, metaclass=PoolMeta):
    __name__ = 'party.contact_mechanism'

    @classmethod
    def _owner(cls):
        return 'party'


LEVELS = [
    (None, ""),
    ('jobs', "Jobs (root)"),
    ('standard_cost_codes', "Standard Cost Codes (root)"),
    ('standard_categories', "Cost Types (root)"),
    ('job', "Job"),
    ('sub_job', "Sub Job"),
    ('cost_code', "Cost Code"),
    ('cost_type_assignment', "Cost Type of a Cost Code"),
    ('standard_cost_code', "Standard Cost Code"),
    ('standard_category', "Cost Type"),
    ]

BELOW = {'jobs': 'job', 'job': 'cost_code', 'sub_job': 'cost_code', 'cost_code': 'cost_code',
    'standard_cost_codes': 'standard_cost_code', 'standard_categories': 'standard_category'}


class Account(Tracked, metaclass=PoolMeta):
    __name__ = 'analytic_account.account'
    tieback_level = fields.Selection(LEVELS, "Procore Level", sort=False)
    tieback_cost_type = fields.Many2One('analytic_account.account', "Procore Cost Type",
        domain=[('tieback_level', '=', 'standard_category')],
        states={'required': Eval('tieback_level') == 'cost_type_assignment'},
        depends=['tieback_level'])

    @classmethod
    def create(cls, vlist):
        vlist = [dict(v) for v in vlist]
        for values in vlist:
            if values.get('parent') and not values.get('tieback_level'):
                values.update(cls.level_below(cls(values['parent']), values))
        return super().create(vlist)

    @classmethod
    def level_below(cls, parent, values):
        "Return the level of an account that a user enters. A leaf with the code or name of a cost type is an assignment."
        level = BELOW.get(parent.tieback_level)
        if parent.tieback_level == 'cost_code' and values.get('type', 'normal') == 'normal':
            types = []
            for field in ('code', 'name'):  # the code first
                if not types and values.get(field):
                    types = cls.search([('tieback_level', '=', 'standard_category'), (field, '=', values[field]),
                            ('company', '=', parent.company.id)], limit=1)
            return {'tieback_level': 'cost_type_assignment', 'tieback_cost_type': types[0].id} if types else {}
        return {'tieback_level': level} if level else {}

    def above(self, level):
        "Return the origin id of the nearest account of a level above, or None."
        at = self.parent
        while at:
            if at.tieback_level == level:
                return str(at.id)
            at = at.parent

    def mappings(self):
        level = self.tieback_level
        if level in CODED:
            values = {'live': bool(self.active), 'company': self.company.id, 'job': self.above('job'),
                'sub_job': self.above('sub_job')}
            if level == 'cost_code':
                values['parent'] = self.above('cost_code')
            yield level, str(self.id), values
        elif level == 'cost_type_assignment' and self.tieback_cost_type:
            cost_code, category = str(self.parent.id), str(self.tieback_cost_type.id)
            first = Pool().get('tieback.record').of(level, cost_code + '|' + category)
            if first and first.live and first.resource != self.id:
                return  # another account is already that assignment
            for entity in (level, 'job_cost'):
                yield entity, cost_code + '|' + category, {
                    'live': bool(self.active), 'company': self.company.id, 'job': self.above('job'),
                    'sub_job': self.above('sub_job'), 'cost_code': cost_code, 'category': category}

    def slot(self, entity, origin, values):
        "Return the scope and code that the account occupies. A code that users enter may occur twice, a booked one may not."
        Record = Pool().get('tieback.record')
        if entity not in CODED or not values['live'] or not self.code:
            return None
        if self.state == 'closed' and entity in ('cost_code', 'standard_cost_code'):
            return None  # deactivated: the cost code that replaced it in Procore has the same code
        scope = {'sub_job': [values['job']], 'cost_code': [values['job'], values['sub_job'] or '']}.get(entity, [])
        slot = '/'.join([str(self.company.id), entity] + scope + [self.code])
        taken = Record.search([('slot', '=', slot), ('origin', '!=', origin)])
        if taken and Transaction().context.get('tieback_entity') == entity:
            from .book import code_taken
            raise code_taken(entity, self.code)
        return None if taken else slot


class AnalyticLine(metaclass=PoolMeta):
    "Posted costs change a job cost. They never wait for each other."
    __name__ = 'analytic_account.line'

    @classmethod
    def create(cls, vlist):
        lines = super().create(vlist)
        cls.costs({l.account.id for l in lines})
        return lines

    @classmethod
    def write(cls, *args):
        lines = sum((list(r) for r in args[::2]), [])
        before = {l.account.id for l in lines}
        super().write(*args)
        cls.costs(before | {l.account.id for l in cls.browse([l.id for l in lines])})

    @classmethod
    def delete(cls, lines):
        before = {l.account.id for l in lines}
        super().delete(lines)
        cls.costs(before)

    @classmethod
    def costs(cls, accounts):
        Record = Pool().get('tieback.record')
        mappings = Record.search([('entity', '=', 'job_cost'), ('model', '=', 'analytic_account.account'),
                ('resource', 'in', list(accounts))])
        Pool().get('tieback.change').log([f.id for f in mappings])


class Order(Tracked):
    "A purchase or a sale. The origin of a change order is its contract."
    __slots__ = ()

    def mappings(self):
        if self.hidden():
            return
        entity, values = self._contract, {'live': self.state != 'cancelled', 'company': self.company.id}
        if self.origin and self.origin.__name__ == self.__name__:
            entity, values['contract'] = OTHER[entity], str(self.origin.id)
        values['vendor'] = party_of(self)
        values.update(job_of(self.lines))
        yield entity, str(self.id), values


class OrderOrigin:
    "A change order's origin is its contract."
    __slots__ = ()

    @classmethod
    def _get_origin(cls):
        return super()._get_origin() + [cls.__name__]


class Purchase(Order, OrderOrigin, metaclass=PoolMeta):
    __name__ = 'purchase.purchase'
    _contract = 'commitment'


class PurchaseLine(Part, metaclass=PoolMeta):
    __name__ = 'purchase.line'

    @classmethod
    def _owner(cls):
        return 'purchase'


class Sale(Order, OrderOrigin, metaclass=PoolMeta):
    __name__ = 'sale.sale'
    _contract = 'prime_contract'


class SaleLine(Part, metaclass=PoolMeta):
    __name__ = 'sale.line'

    @classmethod
    def _owner(cls):
        return 'sale'


class Invoice(Tracked, metaclass=PoolMeta):
    __name__ = 'account.invoice'

    def mappings(self):
        if self.hidden():
            return
        values = {'live': self.state != 'cancelled', 'company': self.company.id, 'vendor': party_of(self)}
        billed = [l.origin for l in self.lines if l.origin and l.origin.__name__ in ('purchase.line', 'sale.line')]
        if billed:
            order = billed[0].purchase if billed[0].__name__ == 'purchase.line' else billed[0].sale
            first = order.origin if order.origin and order.origin.__name__ == order.__name__ else order
            values['contract'] = str(first.id)
        if self.type == 'out':
            entity = 'payment_application'
        else:
            entity = self.booked('requisition' if billed else 'direct_cost', 'requisition', 'direct_cost')
        values.update(job_of(self.lines))
        yield entity, str(self.id), values


class InvoiceLine(Part, metaclass=PoolMeta):
    __name__ = 'account.invoice.line'

    @classmethod
    def _owner(cls):
        return 'invoice'


class Move(Tracked, metaclass=PoolMeta):
    "A move that pays an invoice is a payment, until a reversal names it as its origin."
    __name__ = 'account.move'

    @classmethod
    def touch(cls, moves):
        super().touch(list(moves) + cls.reversed(moves))

    @classmethod
    def reversed(cls, moves):
        return [m.origin for m in cls.browse([m.id for m in moves]) if m.origin and m.origin.__name__ == cls.__name__]

    @classmethod
    def delete(cls, moves):
        gone, origins = {m.id for m in moves}, cls.reversed(moves)
        super().delete(moves)
        cls.touch([m for m in origins if m.id not in gone])

    def mappings(self):
        Move, Link = Pool().get('account.move'), Pool().get('account.invoice-account.move.line')
        Record = Pool().get('tieback.record')
        links = Link.search([('line.move', '=', self.id)])
        known = Record.of('payment', str(self.id))
        if not links and not known and Transaction().context.get('tieback_entity') != 'payment':
            return
        values = {'company': self.company.id, 'live': not Move.search([('origin', '=', str(self)), ('state', '=', 'posted')])}
        if links:
            invoice = links[0].invoice
            of = Record.search([('model', '=', 'account.invoice'), ('resource', '=', invoice.id)], limit=1)
            values.update(parent=str(invoice.id), vendor=party_of(invoice))
            if of:
                values.update(contract=of[0].contract, job=of[0].job, sub_job=of[0].sub_job)
            if not known and invoice.type == 'out':
                return  # a customer's payment
        yield 'payment', str(self.id), values


class PaymentLine(Part, metaclass=PoolMeta):
    __name__ = 'account.invoice-account.move.line'

    @classmethod
    def owners(cls, records):
        return {r.line.move for r in cls.browse([r.id for r in records])}


def party_of(document):
    party = document.party
    return str(party.id) if party and not party.tieback_stand_in else None


def job_of(lines):
    "Return the job of a document's lines, if they have one. A booking sets it itself."
    for line in lines:
        for entry in getattr(line, 'analytic_accounts', ()):
            if entry.account and entry.account.tieback_level == 'cost_type_assignment':
                return {'job': entry.account.above('job'), 'sub_job': entry.account.above('sub_job')}
    return {}


TRACKED = [Party, Address, ContactMechanism, Account, AnalyticLine, Purchase, PurchaseLine, Sale,
    SaleLine, Invoice, InvoiceLine, Move, PaymentLine]
