/** Space and line breaks of any kind, and control characters. */
const gaps = /[\s\p{Cc}]+/gu;
/** Direction overrides, zero-width and other invisible characters, private and unassigned ones, halves of a pair. */
const unprintable = /[\p{Cf}\p{Default_Ignorable_Code_Point}\p{Co}\p{Cn}\p{Cs}]/gu;

/**
 * Text of another program, safe to show in a condition, an Event or a terminal: one line without control, direction or invisible characters. Gaps become
 * one space, other such characters U+FFFD. What is longer than `maxLength` UTF-16 units ends in an ellipsis.
 */
export function plainText(text: string, maxLength: number): string {
  // Nothing beyond this can be shown, and a hostile text may be long.
  const plain = text.slice(0, 4 * maxLength).replaceAll(gaps, ' ').replaceAll(unprintable, '\ufffd').trim();
  if (plain.length <= maxLength) return plain;
  const cut = plain.slice(0, maxLength - 1);
  return `${cut.isWellFormed() ? cut : cut.slice(0, -1)}…`;
}
