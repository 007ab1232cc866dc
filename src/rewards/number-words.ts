/** Words and signs around numbers: currencies, scales, what may precede a number and what may not follow one. */

/** Codes and names of currencies; units too, since they are dropped, but they may also stand before a number. */
const CURRENCY_WORDS =
  "USD|EUR|GBP|JPY|CNY|RMB|CHF|CAD|AUD|NZD|HKD|SGD|TWD|KRW|INR|BRL|MXN|ZAR|RUB|SEK|NOK|DKK|PLN|CZK|HUF|TRY|ILS|AED|SAR|THB|IDR|" +
  "MYR|PHP|VND|NGN|EGP|ARS|CLP|COP|PEN|(?:US |U\\.S\\. )?[Dd]ollars?|[Ee]uros?|Rs\\.?|[Rr]upees?";
const CURRENCY_SIGN = "(?:U\\.?\\s?S\\.?|CA|C|AU|A|NZ|HK|S|SG|NT|R|MX)?\\s?\\$|[€£¥₹₩₽₺₫₴₦₱฿₪₿元¢]";
/** A currency sign or word at a position. */
export const CURRENCY = new RegExp(`(?:${CURRENCY_SIGN}|(?:${CURRENCY_WORDS})(?!\\p{L}))`, "uy");

/** Words and signs before a number that do not change its value. */
export const LEADING_WORD = new RegExp(
  "(?:[~≈∼≃≅=:]|(?:approximately|approx\\.?|about|around|roughly|nearly|almost|exactly|precisely|circa|ca\\.|c\\.|estimated(?: at| to be)?|" +
    "close to|equal to|equals|just|only|simply|some|an?|the|(?:grand )?total(?: of)?|sum of|amount of|value of|therefore|thus|in fact|indeed)" +
    "(?![\\p{L}\\p{N}]),?)",
  "iuy",
);

/** Powers of ten of the scale words; longest names first within a language. */
const SCALES: Readonly<Record<string, number>> = {
  hundred: 2,
  hundreds: 2,
  thousand: 3,
  thousands: 3,
  million: 6,
  millions: 6,
  millionen: 6,
  mio: 6,
  mln: 6,
  mn: 6,
  mil: 6,
  billion: 9,
  billions: 9,
  milliard: 9,
  milliards: 9,
  milliarde: 9,
  milliarden: 9,
  mrd: 9,
  bln: 9,
  bn: 9,
  bil: 9,
  trillion: 12,
  trillions: 12,
  tn: 12,
  trn: 12,
  quadrillion: 15,
  quadrillions: 15,
  quintillion: 18,
  sextillion: 21,
  lakh: 5,
  lakhs: 5,
  lac: 5,
  lacs: 5,
  crore: 7,
  crores: 7,
  k: 3,
  m: 6,
  b: 9,
};
/** Scales only where a currency tells them from units: millimetres, tonnes, credit. */
const CURRENCY_SCALES: Readonly<Record<string, number>> = { mm: 6, t: 12, cr: 7 };
/** Scales of Chinese and Japanese numerals, which follow the digits without a space. */
const HAN_SCALES: Readonly<Record<string, number>> = {
  百: 2,
  千: 3,
  万: 4,
  萬: 4,
  百万: 6,
  千万: 7,
  亿: 8,
  億: 8,
  万亿: 12,
};
const HAN = /万亿|百万|千万|[百千万萬亿億]/uy;
const WORD = /[-\s]{0,3}(\p{L}+)\.?(?![\p{L}\p{N}])/uy;

export interface Scale {
  readonly exponent: number;
  /** Where the text goes on. */
  readonly end: number;
}

/** The scale word at `at`, null where there is none. Without a currency a single letter is one only on its own: not in "5 m/s". */
export function scaleAt(text: string, at: number, hasCurrency: boolean): Scale | null {
  HAN.lastIndex = at;
  const han = HAN.exec(text);
  if (han) return { exponent: HAN_SCALES[han[0]] as number, end: HAN.lastIndex };
  WORD.lastIndex = at;
  const match = WORD.exec(text);
  if (!match) return null;
  const word = match[1] as string;
  const end = match.index + match[0].length;
  const lower = word.toLowerCase();
  if (word.length === 1 && !hasCurrency && /[-/^·]/.test(text[end] ?? "")) return null;
  if (word === "MM") return { exponent: 6, end };
  if (hasCurrency && Object.hasOwn(CURRENCY_SCALES, lower)) return { exponent: CURRENCY_SCALES[lower] as number, end };
  return Object.hasOwn(SCALES, lower) ? { exponent: SCALES[lower] as number, end } : null;
}

const NUMBER_WORDS =
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen " +
  "twenty thirty forty fifty sixty seventy eighty ninety dozen dozens half halves hundred hundreds thousand thousands million millions " +
  "billion billions trillion trillions quadrillion quintillion sextillion lakh lakhs crore crores grand thou " +
  "thirds fifths sixths sevenths eighths ninths tenth tenths hundredth hundredths thousandth thousandths millionth millionths billionths";
const OTHER_MEANINGS =
  "or not no nor neither wrong incorrect false plus minus negative squared cubed factorial pi sqrt root log noon midnight o'clock";
/** Words that make the text after a number another number, a choice or a denial, wherever they stand in it. */
const BARRED = new Set(`${NUMBER_WORDS} ${OTHER_MEANINGS}`.split(" "));
/** What makes the number itself a date, a time or a complex number: "5 May", "5 p.m.", "5i"; "5 and a quarter"; "5-" for -5. */
const BARRED_NEXT =
  /^[\s,-]*(?:of\s+)?(?:(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?|[ap]\.?m|[eij])(?![\p{L}'])|and\s+(?:an?\s+)?(?:quarter|third|fraction|bit)s?\b)|^\s?[-–]\s*$/iu;

/** Powers of a unit are part of it: "m²", "ft^2", "s⁻¹"; those of a variable ("5x^2") are not. */
const UNIT_POWER =
  /(?<=(?<!\p{L})(?:[cdkmnµμ]?m|ft|feet|in|inch|inches|yd|mi|miles?|sec|s|hr?|met(?:er|re)s?|[kK]g|g|A|V|K))(?:⁻?[¹²³]|\^\{?-?[123]\}?)(?!\p{N})/gu;

/** True where `rest`, the text after a number, holds no other number and changes nothing about its value. */
export function isUnitText(rest: string): boolean {
  const text = rest.replace(UNIT_POWER, "").replaceAll("’", "'");
  if (/[\p{N}+<>±≤≥∞√π\\^~@|#〇零一二两三四五六七八九十百千万萬亿億兆]/u.test(text) || BARRED_NEXT.test(text))
    return false;
  for (const [word] of text.toLowerCase().matchAll(/[\p{L}']+/gu)) {
    if (BARRED.has(word) || word.endsWith("n't")) return false;
  }
  return true;
}
