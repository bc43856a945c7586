// Finds one small object in the beginning of a long JSON text: MLflow's answer about a run lists every figure of it, many
// megabytes, after the few words that are wanted. Reads text, owns nothing.

/** The first object that is the value of that name, if the text has all of it. It holds no other object. */
export function objectNamed(text: string, name: string): Record<string, unknown> | undefined {
  // Inside a string the quote behind the name would have a backslash before it.
  const found = new RegExp(`"${name}"\\s*:\\s*(?=\\{)`).exec(text);
  if (!found) return undefined;
  const whole = /^\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\}/.exec(text.slice(found.index + found[0].length));
  return whole ? (JSON.parse(whole[0]) as Record<string, unknown>) : undefined;
}
