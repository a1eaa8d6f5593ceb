// JSON over lines, token by token: no number is read, so none is changed. Not JSON: null.
function indentJson(text) {
  'use strict';
  try { JSON.parse(text); } catch { return null; }
  let depth = 0;
  let before = '';
  const parts = [];
  const line = () => `\n${'  '.repeat(depth)}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]+|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    if (token === '}' || token === ']') {
      depth -= 1;
      if (before !== '{' && before !== '[') parts.push(line());
    } else if ('{[,'.includes(before) && before) parts.push(line());
    parts.push(token === ':' ? ': ' : token);
    if (token === '{' || token === '[') depth += 1;
    before = token;
  }
  return parts.join('');
}
