/**
 * Placeholder for content that is still loading, of the same size.
 *
 *   <Skeleton lines={6} />        <Skeleton height="9rem" />
 */

export function Skeleton({ lines = 1, height = "1.25rem" }: { lines?: number; height?: string | undefined }) {
  return (
    <div class="stack" aria-busy="true">
      <span class="visually-hidden">Loading</span>
      {Array.from({ length: lines }, (_, index) => (
        <span class="skeleton" key={index} style={{ height }} />
      ))}
    </div>
  );
}
