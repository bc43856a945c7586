// What a PromQL expression names: families with the labels that it looks at, labels that it groups by, functions. Enough of
// the language for what is in deploy/; that expressions are PromQL at all is for promtool and Prometheus to say.

export interface Selector {
  name: string;
  labels: string[];
}

export interface Named {
  selectors: Selector[];
  /** Labels of by, without, on, ignoring, group_left, group_right. */
  grouping: string[];
  functions: string[];
}

const STRING = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g;
const GROUPING = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g;
const WORDS = new Set(['and', 'or', 'unless', 'offset', 'bool', 'group_left', 'group_right', 'inf', 'nan']);
/** A name, with what is in braces after it and whether it is called, or an aggregation with its grouping first. */
const NAME = /([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?\s*(\(|(?:by|without)\b)?/g;

export function namedIn(expression: string): Named {
  // Durations have letters; what is in strings is no name.
  let text = expression
    .replace(STRING, '""')
    .replace(/\[[^\]]*\]/g, '')
    .replace(/\boffset\s+\w+/g, '');
  const grouping = [...text.matchAll(GROUPING)].flatMap(([, list = '']) => wordsOf(list));
  text = text.replace(GROUPING, (clause) => clause.replace(/\(.*/s, '').replace(/\b(on|ignoring)\b/, ' '));
  const named: Named = { selectors: [], grouping, functions: [] };
  for (const [, name = '', braces, called] of text.matchAll(NAME)) {
    if (WORDS.has(name) || name === 'by' || name === 'without') continue;
    if (called) named.functions.push(name);
    else named.selectors.push({ name, labels: wordsOf((braces ?? '').replace(/[!=~]+\s*""/g, ' ')) });
  }
  return named;
}

function wordsOf(list: string): string[] {
  return list.match(/[a-zA-Z_]\w*/g) ?? [];
}
