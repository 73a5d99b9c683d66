/** Files that the user adds to a message: images as images, text as a fenced block. */
import type { ImagePart } from "../protocol";

const IMAGE_TYPES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);

/** Return what a file becomes: a part of the message, Markdown, or null where it is neither image nor text. */
export async function readAttachment(file: File): Promise<ImagePart | string | null> {
  if (IMAGE_TYPES.has(file.type)) {
    return { type: "image", name: file.name, text: await dataUrl(file) };
  }
  const text = await file.text();
  return /[\0\ufffd]/.test(text) ? null : fenced(file.name, text);
}

/** Return a file's text as Markdown code, with a fence that the text does not contain. */
export function fenced(name: string, text: string): string {
  const longest = Math.max(2, ...Array.from(text.matchAll(/`+/g), ([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  const language = /\.(\w{1,12})$/.exec(name)?.[1]?.toLowerCase() ?? "";
  const title = name.replaceAll("`", "");
  return `\`${title}\`\n${fence}${language}\n${text.replace(/\n?$/, "\n")}${fence}\n`;
}

function dataUrl(file: File): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error(file.name));
    reader.readAsDataURL(file);
  });
}
