/** A gallery of generated images, each with its size and seed. */
import { useState } from "preact/hooks";
import { Dialog } from "../components/controls/dialog.tsx";
import { Skeleton } from "../components/skeleton.tsx";
import { Download, type OutputFile, useLink } from "./files.tsx";

export interface Picture extends OutputFile {
  seed: number;
  width: number;
  height: number;
}

export function Images({ images, subject }: { images: Picture[]; subject: string }) {
  return (
    <ul class="gallery">
      {images.map((image, index) => (
        <li key={image.artifact_id + image.name}>
          <Shown image={image} alt={`${subject}, image ${index + 1} of ${images.length}`} />
        </li>
      ))}
    </ul>
  );
}

function Shown({ image, alt }: { image: Picture; alt: string }) {
  const [large, setLarge] = useState(false);
  const url = useLink(image.artifact_id);
  const style = { aspectRatio: `${image.width} / ${image.height}` };
  return (
    <figure class="stack picture" data-gap="2">
      {url ? (
        <button
          type="button"
          class="picture-open"
          aria-label={`Enlarge: ${alt}`}
          onClick={() => setLarge(true)}
        >
          <img src={url} alt={alt} width={image.width} height={image.height} style={style} />
        </button>
      ) : (
        <div style={style}>
          <Skeleton height="100%" />
        </div>
      )}
      <figcaption class="row" data-between="true">
        <span>
          {image.width} × {image.height}, seed {image.seed}
        </span>
        <Download file={image} />
      </figcaption>
      <Dialog title={image.name} open={large} onClose={() => setLarge(false)}>
        <img src={url} alt={alt} />
      </Dialog>
    </figure>
  );
}
