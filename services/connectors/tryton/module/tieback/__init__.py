"""The Tryton module of Tieback, for Tryton 6.0 on PostgreSQL.

    record.py   maps the records of Tryton to those of Procore, and logs their changes
    track.py    extends the standard models, so that their changes are logged
    book.py     books a record and its key in one transaction
    remove.py   removes a record for a reset
    company.py  finds or creates the accounts, journals and roots that bookings need
"""
from trytond.pool import Pool

from . import book, company, record, remove, track


def register():
    Pool.register(
        record.Record,
        record.Change,
        book.Resets,
        book.Postings,
        book.Key,
        remove.Remove,
        company.Company,
        *track.TRACKED,
        module='tieback', type_='model')
