/** A seeded answer, made of what a model writes for data scientists. */

const WORDS =
  "the model data frame column value mean of each group is then joined with its index and returned as a new table where missing rows are kept so that the plot shows what was measured rather than what was expected by most people".split(
    " ",
  );

/** Return Markdown of at least `chars` characters, the same for the same seed. */
export function answer(chars: number, seed = 7): string {
  const random = generator(seed);
  const pick = <Item>(items: readonly Item[]): Item =>
    items[Math.floor(random() * items.length)] as Item;
  const words = (n: number): string =>
    Array.from({ length: n }, () => {
      const word = pick(WORDS);
      const style = random();
      if (style < 0.02) return `**${word}**`;
      if (style < 0.04) return `\`${word}_${pick(WORDS)}\``;
      if (style < 0.05) return `*${word}*`;
      if (style < 0.055) return `[${word}](https://example.org/${word})`;
      return style < 0.15 ? `${word},` : word;
    }).join(" ");
  const sentence = (): string => `${words(6 + Math.floor(random() * 14))}. `;
  const paragraph = (): string =>
    Array.from({ length: 2 + Math.floor(random() * 4) }, sentence)
      .join("")
      .trim();
  const kinds = [
    paragraph,
    paragraph,
    paragraph,
    paragraph,
    () => `## ${words(4)}`,
    () => Array.from({ length: 5 }, () => `- ${words(9)}`).join("\n"),
    () => Array.from({ length: 4 }, (_, i) => `${i + 1}. ${words(12)}`).join("\n"),
    () =>
      `\`\`\`python\n${Array.from({ length: 8 }, () => `${pick(WORDS)} = frame["${pick(WORDS)}"].mean()  # ${pick(WORDS)}`).join("\n")}\n\`\`\``,
    () =>
      `| ${words(1)} | ${words(1)} | ${words(1)} |\n|---|---:|:--|\n${Array.from({ length: 5 }, () => `| ${words(2)} | ${Math.floor(random() * 1000)} | ${words(2)} |`).join("\n")}`,
    () => `> ${paragraph()}`,
  ];
  let text = "";
  while (text.length < chars) text += `${pick(kinds)()}\n\n`;
  return text;
}

/** Return random numbers in [0, 1), the same ones for the same seed: Mulberry32. */
export function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
