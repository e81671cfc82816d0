"""Tieback's part of Tryton 6.0, on PostgreSQL: what can't be done from outside.

    record.py   a mapping of each record that Procore knows or may know, and what of it changed
    track.py    the standard models tell when they change
    book.py     a record and its key in one transaction
    remove.py   a reset
    company.py  the accounts, journals and roots that bookings need
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
