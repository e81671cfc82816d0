#!/usr/bin/env python3
"""Installs the module where trytond finds it: pip install ."""
from setuptools import setup

setup(
    name='trytond_tieback',
    version='6.0.0',
    description='Tryton module of Tieback, which connects Procore to an ERP',
    package_dir={'trytond.modules.tieback': '.'},
    packages=['trytond.modules.tieback'],
    package_data={'trytond.modules.tieback': ['tryton.cfg', '*.xml']},
    install_requires=['trytond >= 6.0, < 6.1'],
    entry_points="""
    [trytond.modules]
    tieback = trytond.modules.tieback
    """)
