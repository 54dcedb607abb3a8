// The six emotions, in the order of the network's outputs.

export const EMOTIONS = ["happiness", "surprise", "sadness", "anger", "disgust", "fear"];

export const title = (emotion) => emotion[0].toUpperCase() + emotion.slice(1);

export const percent = (share) =>
  share > 0 && share < 0.005 ? "<1%" : `${Math.round(share * 100)}%`;

export const colour = (emotion) => `var(--${emotion})`;

/** The scores to show: smoothed where a person is followed. */
export const shown = (face) => face.smoothed ?? face.scores;

/** The strongest emotion of the scores that are shown, and its score. */
export function verdict(face) {
  const scores = shown(face);
  const emotion = EMOTIONS.reduce((best, next) => (scores[next] > scores[best] ? next : best));
  return { emotion, confidence: scores[emotion] };
}

/** Who a face is among the others: a track where people are followed, else its rank. */
export const identity = (face, index) => face.track ?? index;
