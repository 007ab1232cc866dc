/** `datetime.now().strftime(format)` of Python on Linux with glibc, in the C locale, for local time without a zone. */

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"] as const;
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
] as const;

const DAY_MS = 86_400_000;

/** Days since January 1st, from 0; free of clock changes. */
const dayOfYear = (date: Date): number =>
  Math.round(
    (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / DAY_MS,
  );

/** Week number by ISO 8601 and the year it belongs to. */
function isoWeek(date: Date): { readonly year: number; readonly week: number } {
  const thursday = new Date(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()));
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const year = thursday.getUTCFullYear();
  return { year, week: Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / DAY_MS / 7) + 1 };
}

/** A number padded to `width` with `fill`. */
type Field = string | { readonly number: number; readonly width: number; readonly fill: "0" | " " };

const zero = (number: number, width = 2): Field => ({ number, width, fill: "0" });
const space = (number: number, width = 2): Field => ({ number, width, fill: " " });
const hour12 = (date: Date): number => date.getHours() % 12 || 12;

/** What a conversion stands for; a list of texts and conversions is formatted in turn. */
function fieldOf(code: string, date: Date): Field | null {
  const year = date.getFullYear();
  switch (code) {
    case "a":
      return DAYS[date.getDay()]!.slice(0, 3);
    case "A":
      return DAYS[date.getDay()]!;
    case "b":
    case "h":
      return MONTHS[date.getMonth()]!.slice(0, 3);
    case "B":
      return MONTHS[date.getMonth()]!;
    case "C":
      return zero(Math.floor(year / 100));
    case "d":
      return zero(date.getDate());
    case "e":
      return space(date.getDate());
    case "g":
      return zero(isoWeek(date).year % 100);
    case "G":
      return zero(isoWeek(date).year, 4);
    case "H":
      return zero(date.getHours());
    case "I":
      return zero(hour12(date));
    case "j":
      return zero(dayOfYear(date) + 1, 3);
    case "k":
      return space(date.getHours());
    case "l":
      return space(hour12(date));
    case "m":
      return zero(date.getMonth() + 1);
    case "M":
      return zero(date.getMinutes());
    case "n":
      return "\n";
    case "p":
      return date.getHours() < 12 ? "AM" : "PM";
    case "P":
      return date.getHours() < 12 ? "am" : "pm";
    case "s":
      return String(Math.floor(date.getTime() / 1000));
    case "S":
      return zero(date.getSeconds());
    case "t":
      return "\t";
    case "u":
      return String(date.getDay() || 7);
    case "U":
      return zero(Math.floor((dayOfYear(date) + 7 - date.getDay()) / 7));
    case "V":
      return zero(isoWeek(date).week);
    case "w":
      return String(date.getDay());
    case "W":
      return zero(Math.floor((dayOfYear(date) + 7 - ((date.getDay() + 6) % 7)) / 7));
    case "y":
      return zero(year % 100);
    case "Y":
      return { number: year, width: 4, fill: "0" };
    // Python writes the zone of a time without one as nothing.
    case "z":
    case "Z":
      return "";
    case "%":
      return "%";
    default:
      return null;
  }
}

/** Conversions that are short for others. */
const COMPOSED: Readonly<Record<string, string>> = {
  c: "%a %b %e %H:%M:%S %Y",
  D: "%m/%d/%y",
  F: "%Y-%m-%d",
  r: "%I:%M:%S %p",
  R: "%H:%M",
  T: "%H:%M:%S",
  x: "%m/%d/%y",
  X: "%H:%M:%S",
};

/** A field under glibc's flags (`-` no padding, `_` spaces, `0` zeros, `^` capitals, `#` the other case) and width. */
function laidOut(field: Field, flags: string, width: string): string {
  const padding = /[-_0](?=[^-_0]*$)/.exec(flags)?.[0] ?? "";
  let text: string;
  if (typeof field === "string") {
    const fill = padding === "0" ? "0" : " ";
    text = field.padStart(Number(width || 0), fill);
  } else {
    const fill = padding === "_" || padding === "-" ? " " : padding === "0" ? "0" : field.fill;
    const size = width === "" ? (padding === "-" ? 0 : field.width) : Number(width);
    text = String(field.number).padStart(size, fill);
  }
  if (flags.includes("^")) return text.toUpperCase();
  if (flags.includes("#")) return /[a-z]/.test(text) && !/^[AP]M$/.test(text) ? text.toUpperCase() : text.toLowerCase();
  return text;
}

/** The text of a local time under a format. What glibc does not know is printed as it stands. */
export function strftime(date: Date, format: string): string {
  // Python replaces %f itself, before anything else; a JavaScript date has milliseconds only.
  const microseconds = String(date.getMilliseconds() * 1000).padStart(6, "0");
  const withFraction = format.replace(/%([\s\S])/g, (whole, code) => (code === "f" ? microseconds : whole));
  return withFraction.replace(
    /%([-_0^#]*)(\d*)([EO]?)([\s\S])/g,
    (whole, flags: string, width: string, modifier: string, code: string) => {
      const composed = COMPOSED[code];
      if (composed !== undefined && modifier !== "O") {
        const inner = flags.includes("^") ? strftime(date, composed).toUpperCase() : strftime(date, composed);
        return inner.padStart(Number(width || 0), flags.includes("0") ? "0" : " ");
      }
      const field = fieldOf(code, date);
      return field === null ? whole : laidOut(field, flags, width);
    },
  );
}
