/**
 * Placeholders for content that is still loading, in its shape.
 *
 *   <Skeleton lines={6} />        <Skeleton height="9rem" />
 *   <PageSkeleton />              a whole page: its title, its introduction, figures and rows
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

const ROWS = 6;

export function PageSkeleton() {
  return (
    <div class="stack page" aria-busy="true">
      <span class="visually-hidden">Loading</span>
      <div class="stack" data-gap="1">
        <span class="skeleton" data-as="title" />
        <span class="skeleton" data-as="lead" />
      </div>
      <div class="figures">
        {Array.from({ length: 4 }, (_, index) => (
          <div class="figure" key={index}>
            <span class="skeleton" data-as="figure" />
          </div>
        ))}
      </div>
      <div class="stack">
        {Array.from({ length: ROWS }, (_, index) => (
          <span class="skeleton" key={index} data-as="row" />
        ))}
      </div>
    </div>
  );
}
