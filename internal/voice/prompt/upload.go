package prompt

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/wav"
)

// What a recording of a tenant's may be.
const (
	MaxUpload   = 1 << 20 // bytes of the file
	MinDuration = 100 * time.Millisecond
	MaxDuration = time.Minute
)

// quietest is the peak below which a recording is silence: -48 dB of full scale.
const quietest = 128

// A Refusal says what is wrong with a recording.
type Refusal string

// The refusals of Parse, in the order in which it looks.
const (
	TooLarge Refusal = "too_large"
	NotWAV   Refusal = "not_wav"
	Format   Refusal = "format" // another rate, or more than one channel
	CutShort Refusal = "cut_short"
	TooShort Refusal = "too_short"
	TooLong  Refusal = "too_long"
	Silent   Refusal = "silent"
)

// An UploadError says why a recording is refused. Its text is fit for the user
// who sent it: what was found, and what is wanted.
type UploadError struct {
	Refusal       Refusal
	Found, Wanted string
}

func (e *UploadError) Error() string { return e.Found + ": " + e.Wanted }

// Parse reads a recording that somebody sent: a WAV file at 8 kHz with one
// channel of 16-bit PCM, A-law or µ-law, of MinDuration to MaxDuration. All its
// errors are *UploadError.
func Parse(file []byte) (Clip, error) {
	sound, err := wav.Read(bytes.NewReader(file), MaxUpload)
	d := time.Duration(len(sound.Samples)) * (time.Second / g711.Rate)
	const length = "prompts must be 0.1 to 60 seconds long"
	switch {
	case errors.Is(err, wav.ErrTooLarge):
		return refuse(TooLarge, fmt.Sprintf("%d bytes", len(file)), fmt.Sprintf("prompts must be %d bytes at most", MaxUpload))
	case err != nil:
		return refuse(NotWAV, "no sound that can be read", "prompts must be WAV files with 16-bit PCM, A-law or µ-law")
	case sound.Rate != g711.Rate && sound.Channels == 1:
		return refuse(Format, fmt.Sprintf("%d Hz", sound.Rate), "prompts must be 8000 Hz mono")
	case sound.Rate != g711.Rate || sound.Channels != 1:
		return refuse(Format, fmt.Sprintf("%d Hz with %d channels", sound.Rate, sound.Channels), "prompts must be 8000 Hz mono")
	case sound.Cut:
		return refuse(CutShort, fmt.Sprintf("a file that ends after %.1f seconds, before its own header says", d.Seconds()), "prompts must be complete")
	case d < MinDuration:
		return refuse(TooShort, fmt.Sprintf("%.3f seconds", d.Seconds()), length)
	case d > MaxDuration:
		return refuse(TooLong, fmt.Sprintf("%.3f seconds", d.Seconds()), length)
	case silent(sound.Samples):
		return refuse(Silent, "nothing but silence", "prompts must be heard")
	}
	return newClip(sound.Samples), nil
}

func refuse(why Refusal, found, wanted string) (Clip, error) {
	return Clip{}, &UploadError{Refusal: why, Found: found, Wanted: wanted}
}

func silent(pcm []int16) bool {
	for _, s := range pcm {
		if s >= quietest || s <= -quietest {
			return false
		}
	}
	return true
}
