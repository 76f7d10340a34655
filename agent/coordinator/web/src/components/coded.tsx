/** A message whose parts in backticks, such as commands, are shown as code. */
export function Coded({ text }: { text: string }) {
  return (
    <>{text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? <code key={index}>{part}</code> : part))}</>
  );
}
