"""Finds or creates what the bookings of a company need: roots, placeholder parties, accounts and journals."""
from trytond.model import Model
from trytond.pool import Pool
from trytond.rpc import RPC
from trytond.transaction import Transaction

from .record import Refused

ROOTS = {'jobs': "Jobs", 'standard_cost_codes': "Standard Cost Codes", 'standard_categories': "Cost Types"}
STAND_INS = {'owner': "Project owner", 'sundry': "Sundry vendor"}


class Company(Model):
    "Procore Company"
    __name__ = 'tieback.company'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__rpc__['facts'] = RPC(readonly=False)

    @classmethod
    def facts(cls, company):
        "Return the ids that bookings need. Tieback's own records are created if they are missing. It is idempotent."
        with Transaction().set_context(company=company, active_test=False):
            Company, Currency = Pool().get('company.company'), Pool().get('currency.currency')
            currency = Company(company).currency
            return {
                'currency': currency.id, 'code': currency.code, 'digits': currency.digits,
                'currencies': {c.code: c.id for c in Currency.search([('active', '=', True)])},
                'digits_of': {c.code: c.digits for c in Currency.search([('active', '=', True)])},
                'roots': {level: root(company, level, name) for level, name in ROOTS.items()},
                'owner': stand_in(company, 'owner'), 'sundry': stand_in(company, 'sundry'),
                'expense': account(company, 'expense'), 'revenue': account(company, 'revenue'),
                'retainage_payable': account(company, 'expense', "Retainage payable"),
                'retainage_receivable': account(company, 'revenue', "Retainage receivable"),
                'bank': bank(company),
                'unit': unit(company),
                }


def lock_company(company):
    "Lock the company before a record of Tieback is created: a concurrent call is repeated, and finds the record."
    Transaction().connection.cursor().execute('UPDATE company_company SET id = id WHERE id = %s', (company,))


def root(company, level, name):
    Account = Pool().get('analytic_account.account')
    found = Account.search([('tieback_level', '=', level), ('company', '=', company)], limit=1)
    if not found:
        lock_company(company)
        found = Account.create([{'name': name, 'type': 'root', 'state': 'opened', 'company': company, 'tieback_level': level}])
    return found[0].id


def stand_in(company, name):
    Party = Pool().get('party.party')
    found = Party.search([('tieback_stand_in', '=', name)], limit=1)
    if not found:
        lock_company(company)
        found = Party.create([{'name': STAND_INS[name], 'tieback_stand_in': name, 'addresses': [('create', [{}])]}])
    return found[0].id


def account(company, kind, name=None):
    "Return the company's account of a kind: the one of that name, else the default, else the first."
    Account, Configuration = Pool().get('account.account'), Pool().get('account.configuration')
    usable = [('company', '=', company), ('closed', '!=', True)]
    if name:
        sort = [('type.debt', '=', True)] if kind == 'expense' else [('type.revenue', '=', True)]
        named = Account.search(usable + sort + [('name', '=', name)], limit=1)
        if named:
            return named[0].id
    usual = getattr(Configuration(1), 'default_category_account_' + kind, None)
    if usual:
        return usual.id
    found = Account.search(usable + [('type.' + kind, '=', True)], limit=1)
    if not found:
        raise Refused('', "The company has no %s account in Tryton. Set up its chart of accounts." % kind)
    return found[0].id


def bank(company):
    "Return the journal and the account of payments, which are those of the first payment method."
    Method, Journal = Pool().get('account.invoice.payment.method'), Pool().get('account.journal')
    methods = Method.search([('company', '=', company), ('active', '=', True)], limit=1, order=[('id', 'ASC')])
    if methods:
        m = methods[0]
        return {'journal': m.journal.id, 'account': m.credit_account.id, 'party_required': m.credit_account.party_required}
    raise Refused('', "The company has no payment method in Tryton. Enter one under Financial, Configuration, Invoice, Payment Methods.")


def unit(company):
    "Return the unit of quantities, which keeps four decimals."
    Unit = Pool().get('product.uom')
    found = Unit.search([('symbol', '=', 'pc.')], limit=1)
    if found:
        return found[0].id
    lock_company(company)
    Category = Pool().get('product.uom.category')
    category, = Category.create([{'name': "Procore quantities"}])
    made, = Unit.create([{'name': "Procore unit", 'symbol': 'pc.', 'category': category.id, 'rate': 1.0, 'factor': 1.0,
                'rounding': 0.0001, 'digits': 4}])
    return made.id
