// The six emotions, in the order of the network's outputs.

export const EMOTIONS = ["happiness", "surprise", "sadness", "anger", "disgust", "fear"];

export const title = (emotion) => emotion[0].toUpperCase() + emotion.slice(1);

export const percent = (share) =>
  share > 0 && share < 0.005 ? "<1%" : `${Math.round(share * 100)}%`;

export const colour = (emotion) => `var(--${emotion})`;

/** The scores to show: the smoothed ones if the face is tracked. */
export const shownScores = (face) => face.smoothed ?? face.scores;

/** The emotion with the highest shown score, and that score. */
export function topEmotion(face) {
  const scores = shownScores(face);
  const emotion = EMOTIONS.reduce((best, next) => (scores[next] > scores[best] ? next : best));
  return { emotion, confidence: scores[emotion] };
}

/** Identify a face: by its track if faces are tracked, else by its index. */
export const personId = (face, index) => face.track ?? index;
