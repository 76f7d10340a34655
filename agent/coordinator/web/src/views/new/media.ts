/** Reads the duration and size of a recording or a picture in the browser, before its upload. */
import { useEffect, useState } from "preact/hooks";
import { duration } from "../../format/time.ts";
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
  const url = URL.createObjectURL(file);
  try {
    return await (file.type.startsWith("image/") ? readPicture(url) : readRecording(url));
  } finally {
    URL.revokeObjectURL(url);
  }
}

async function readPicture(url: string): Promise<Media | undefined> {
  const picture = new Image();
  picture.src = url;
  const isReadable = await picture.decode().then(
    () => true,
    () => false,
  );
  return isReadable
    ? { duration: undefined, width: picture.naturalWidth, height: picture.naturalHeight }
    : undefined;
}

async function readRecording(url: string): Promise<Media | undefined> {
  const element = document.createElement("video");
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
  }
}

function known({ duration, videoWidth, videoHeight }: HTMLVideoElement): Media | undefined {
  if (!Number.isFinite(duration)) return undefined;
  return { duration, width: videoWidth || undefined, height: videoHeight || undefined };
}

/** Describe a file's media: "3 min 12 s, 1920 x 1080 pixels". */
export function mediaText(media: Media | undefined): string | undefined {
  if (!media) return undefined;
  const { duration: seconds, width, height } = media;
  const parts = [
    seconds === undefined ? undefined : duration(seconds),
    width && height ? `${width} x ${height} pixels` : undefined,
  ];
  return parts.filter(Boolean).join(", ");
}
