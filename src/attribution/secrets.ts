// Takes secrets out of what clients say before it is stored. Pure. Whoever wants one found can always hide it from this:
// it is for what slips in by accident, in an address, a dictionary of options or an exception's message. The Python client
// has the same rules (redact.py), and test/fixtures/secrets.json holds for both.

export const HIDDEN = '[hidden]';

// Every repetition is bounded: the time is that of the text's length.

/** What a secret is called in a text; the last of the name counts: a password's policy is none. */
const WORD =
  '(?:passw(?:or)?d|passphrase|(?:api|access|account|private|secret|signing|encryption|ssh)[_-]?key|secret|credential)s?(?:[_-]?(?:id|value|hash))?';
/** A tokenizer's own have such names. */
const TOKEN_WORD = '(?<!(?:bos|cls|eos|pad|sep|unk)[_-])(?<!mask[_-])token';
const QUOTED = String.raw`\\?"[^"]{1,4096}"|\\?'[^']{1,4096}'`;
const EQUALS = ' {0,3}= {0,3}';
/** Nothing that was taken out already, by the client: the bracket after it is not its own. */
const ASSIGNED = String.raw`(?:${QUOTED}|(?!\[hidden\])[^\s&#;,"']{1,4096})`;
const COLON = String.raw`\\?["']? {0,3}: {0,3}`;

const FORMS: readonly (readonly [RegExp, string])[] = [
  // User and password of an address.
  [/([a-z][a-z0-9+.-]{0,30}:\/\/)[^/?#\s"'<>]{0,512}@/gi, '$1'],
  // What signs an address.
  [/([?&](?:[\w-]{1,32}-)?sig(?:nature)?=)[^\s&#"']{16,4096}/gi, `$1${HIDDEN}`],
  // Options of a command line, a connection, an address's query, a call that failed: password=…, password='…', --password …
  [new RegExp(`(${WORD}${EQUALS})${ASSIGNED}`, 'gi'), `$1${HIDDEN}`],
  [
    new RegExp(String.raw`(${TOKEN_WORD}${EQUALS})(?![<[/]|\d{1,9}(?![\w-]))${ASSIGNED}`, 'gi'),
    `$1${HIDDEN}`,
  ],
  // The shell's PWD is a folder.
  [new RegExp(`(pwd${EQUALS})(?!/)${ASSIGNED}`, 'gi'), `$1${HIDDEN}`],
  [
    new RegExp(
      String.raw`((?<!-)--(?:[\w-]{0,32}[_-])?(?:${WORD}|pwd|${TOKEN_WORD}) {1,3})(?![-<[])(?:${QUOTED}|[^\s"']{1,4096})`,
      'gi',
    ),
    `$1${HIDDEN}`,
  ],
  // A dictionary as text, a header: 'password': '…', X-Api-Key: …
  [
    new RegExp(
      String.raw`(${WORD}${COLON})(?!null|none|true|false)(?:${QUOTED}|[^\s,;"'&{}()[\]]{1,4096})`,
      'gi',
    ),
    `$1${HIDDEN}`,
  ],
  [
    new RegExp(String.raw`(${TOKEN_WORD}\\?["'] {0,3}: {0,3}\\?["'])(?![<[])[^\s"'\\]{16,4096}`, 'gi'),
    `$1${HIDDEN}`,
  ],
  [/(authorization\\?["']? {0,3}[:=] {0,3}\\?["']?)(?:[a-z]{1,16} {1,3})?[^\s"',;]{1,4096}/gi, `$1${HIDDEN}`],
  [/(?<![a-z0-9])bearer {1,3}(?=[a-z._~+/=-]{0,256}[0-9])[a-z0-9._~+/=-]{16,4096}/gi, HIDDEN],
  [/-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|$)/g, HIDDEN],
  // As those who hand out keys and tokens write them.
  [
    /(?<![A-Za-z0-9])(?:A[KS]IA[0-9A-Z]{16}|gh[opsur]_\w{20,255}|github_pat_\w{20,255}|glpat-[\w-]{20,255}|hf_[A-Za-z0-9]{20,255}|[rs]k_(?:live|test)_\w{16,255}|xox[abeprs]-[\w-]{10,255}|AIza[\w-]{30,255}|ya29\.[\w-]{20,1024}|SG\.[\w-]{16,64}\.[\w-]{16,128}|npm_[A-Za-z0-9]{36}|dop_v1_[0-9a-f]{64}|dapi[0-9a-f]{32}|pypi-[\w-]{40,255}|hooks\.slack\.com\/services\/[\w/]{10,255})/g,
    HIDDEN,
  ],
  [
    /(?<![\w-])(?:sk-(?=[a-z_-]{0,255}[0-9A-Z])[\w-]{20,255}|eyJ[\w-]{8,2048}\.[\w-]{8,2048}\.[\w-]{0,2048})/g,
    HIDDEN,
  ],
];
const NAMES =
  /(?:passwords?|passwd|passphrases?|(?:^|_)(?:(?:db|ftp|mail|root|smtp|sql|sudo|user)_?pass|pwd|secrets?(?:_value)?|(?:api|account|encryption|private|secret|signing|ssh)_?keys?|access_?keys?(?:_id)?|credentials?|(?:auth|access|refresh|bearer)_?tokens?|authorization))$/;
/** A tokenizer has short ones, numbers of them, marked ones as <|begin_of_text|>, and words. */
const TOKEN = /(?:^|_)token$/;
const NO_TOKEN = /\s|^[<[]|^[a-z]+(?:[_-][a-z]+)+$/;
const TOKEN_CHARS = 16;
/** The shell's PWD. */
const FOLDER = /^\//;

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
  if (Array.isArray(value)) return value.map((one, at) => anyRedacted(one, optionBefore(value, at) ?? name));
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
  if (NAMES.test(words)) return !(words.endsWith('pwd') && FOLDER.test(value));
  return TOKEN.test(words) && value.length >= TOKEN_CHARS && !NO_TOKEN.test(value);
}

/** Of a command line in pieces: `--password` says what the next one is. */
function optionBefore(list: readonly unknown[], at: number): string | undefined {
  const before = list[at - 1];
  const isValue = typeof before === 'string' && /^--?[A-Za-z][\w-]{0,63}$/.test(before);
  return isValue && typeof list[at] === 'string' && !/^-/.test(list[at]) ? before : undefined;
}
