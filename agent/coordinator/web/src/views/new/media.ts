/** Reads the duration and size of an audio or video file in the browser, before its upload. */
import { useEffect, useState } from "preact/hooks";
import type { Media } from "../../schema/estimate.ts";

const LIMIT_MS = 5000;

/** Duration and size of a media file, once known; undefined for a file that the browser cannot read. */
export function useMedia(file: File | undefined): Media | undefined {
  const [media, setMedia] = useState<Media>();
  useEffect(() => {
    let mounted = true;
    setMedia(undefined);
    if (file) void read(file).then((media) => mounted && setMedia(media));
    return () => {
      mounted = false;
    };
  }, [file]);
  return media;
}

async function read(file: File): Promise<Media | undefined> {
  const element = document.createElement("video");
  const url = URL.createObjectURL(file);
  try {
    return await new Promise<Media | undefined>((resolve) => {
      element.onloadedmetadata = () => resolve(known(element));
      element.onerror = () => resolve(undefined);
      setTimeout(() => resolve(undefined), LIMIT_MS);
      element.preload = "metadata";
      element.src = url;
    });
  } finally {
    element.removeAttribute("src");
    URL.revokeObjectURL(url);
  }
}

function known({ duration, videoWidth, videoHeight }: HTMLVideoElement): Media | undefined {
  if (!Number.isFinite(duration)) return undefined;
  return { duration, width: videoWidth || undefined, height: videoHeight || undefined };
}
