// Takes secrets out of what clients say before it is stored. Pure. Whoever wants one found can always hide it from this:
// it is for what slips in by accident, in an address, a dictionary of options or an exception's message. The Python client
// has the same rules (redact.py), and test/fixtures/secrets.json holds for both.

export const HIDDEN = '[hidden]';

/** Every repetition is bounded: the time is that of the text's length. */
const FORMS: readonly (readonly [RegExp, string])[] = [
  // User and password of an address.
  [/([a-z][a-z0-9+.-]{0,30}:\/\/)[^/?#\s"'<>]{0,512}@/gi, '$1'],
  // What an address's query calls so, and options of a command line or a connection: password=…
  [
    /((?:passw(?:or)?d|passphrase|pwd|secret|signature|credential|api[_-]?key|access[_-]?key|account[_-]?key|token)[\w-]{0,32}=)[^\s&#;,"']{1,4096}/gi,
    `$1${HIDDEN}`,
  ],
  [/(?<![A-Za-z0-9])(?:bearer|basic) +[A-Za-z0-9._~+/=-]{16,4096}/gi, HIDDEN],
  [/-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/g, HIDDEN],
  // As those who hand out keys and tokens write them.
  [
    /(?<![A-Za-z0-9])(?:A[KS]IA[0-9A-Z]{16}|gh[opsur]_\w{20,255}|github_pat_\w{20,255}|glpat-[\w-]{20,255}|hf_\w{20,255}|sk-[\w-]{20,255}|xox[abeprs]-[\w-]{10,255}|AIza[\w-]{30,255}|pypi-[\w-]{40,255}|eyJ[\w-]{8,2048}\.[\w-]{8,2048}\.[\w-]{0,2048})/g,
    HIDDEN,
  ],
];
const NAMES =
  /(?:^|_)(?:password|passwd|passphrase|pwd|secret|api_?key|access_?key(?:_id)?|account_?key|private_?key|credentials?|(?:auth|access|refresh|bearer)_?token)$/;
/** A tokenizer has short ones, and numbers of them. */
const TOKEN = /(?:^|_)token$/;
const TOKEN_CHARS = 16;

/** A text without what reads like a secret. */
export function withoutSecrets(text: string): string {
  return FORMS.reduce((left, [form, instead]) => left.replace(form, instead), text);
}

/** The same for JSON; what is kept under the name of a secret goes whole, but for numbers and yes or no. */
export function redacted<T>(value: T, name = ''): T {
  return anyRedacted(value, name) as T;
}

function anyRedacted(value: unknown, name: string): unknown {
  if (typeof value === 'string') return isSecret(name, value) ? HIDDEN : withoutSecrets(value);
  if (Array.isArray(value)) return value.map((one) => anyRedacted(one, name));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      const known = withoutSecrets(key);
      return [known, anyRedacted(inner, isSecret(name, '') ? name : key)];
    }),
  );
}

function isSecret(name: string, value: string): boolean {
  const words = name
    .slice(-128)
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/[^A-Za-z0-9]/g, '_')
    .toLowerCase();
  return NAMES.test(words) || (TOKEN.test(words) && value.length >= TOKEN_CHARS && !/\s/.test(value));
}
