// Amounts are decimals in strings. They are added as whole numbers of 10^-12, never as JS numbers.

const form = /^([+-]?)(\d{1,18})(?:\.(\d{1,12}))?$/;
const places = 12;

/** isAmount reports whether s is empty, or an amount of at most 18 digits and 12 decimals. */
export const isAmount = (s = ''): boolean => s.trim() === '' || form.test(s.trim());

function units(s = ''): bigint {
  const [, sign, whole, fraction = ''] = /^([+-]?)(\d+)(?:\.(\d+))?$/.exec(s.trim() || '0') ?? [];
  if (whole === undefined) throw new Error(`${s} is not an amount`);
  const n = BigInt(whole + fraction.padEnd(places, '0'));
  return sign === '-' ? -n : n;
}

export function add(a = '', b = ''): string {
  const n = units(a) + units(b);
  const digits = (n < 0n ? -n : n).toString().padStart(places + 1, '0');
  const text = `${digits.slice(0, -places)}.${digits.slice(-places)}`.replace(/\.?0+$/, '');
  return n < 0n ? `-${text}` : text;
}

export const negate = (s = ''): string => add('0', units(s) < 0n ? s.trim().slice(1) : `-${s.trim().replace(/^\+/, '') || '0'}`);

export const isZero = (s = ''): boolean => units(s) === 0n;
