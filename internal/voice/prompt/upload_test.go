package prompt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/wav"
)

// file is a WAV file of 16-bit PCM.
func file(rate, channels int, pcm []int16) []byte {
	b := wav.Header(rate, channels, int64(2*len(pcm)))
	for _, s := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	return b
}

// coded is a WAV file of G.711.
func coded(law g711.Law, code []byte) []byte {
	b := wav.Header(8000, 1, int64(len(code)))
	binary.LittleEndian.PutUint16(b[20:], map[g711.Law]uint16{g711.ALaw: 6, g711.ULaw: 7}[law])
	binary.LittleEndian.PutUint16(b[34:], 8)
	return append(b, code...)
}

func TestARecordingIsHeardAsItWasSent(t *testing.T) {
	pcm := DTMF('5', 200*ms, 100*ms)
	c, err := Parse(file(8000, 1, pcm))
	if err != nil || !same(c, newClip(pcm)) || c.Duration() != 300*ms {
		t.Errorf("PCM: %v of sound, %v", c.Duration(), err)
	}
	for name, law := range laws {
		code := law.Encode(nil, pcm)
		if c, err := Parse(coded(law, code)); err != nil || !bytes.Equal(c.Audio(law), code) {
			t.Errorf("%s: %v of sound, %v", name, c.Duration(), err)
		}
	}
	for _, d := range []time.Duration{MinDuration, MaxDuration} {
		if c, err := Parse(file(8000, 1, DTMF('5', d, 0))); err != nil || c.Duration() != d {
			t.Errorf("%v: %v of sound, %v", d, c.Duration(), err)
		}
	}
}

func TestARefusalSaysWhatWasFoundAndWhatIsWanted(t *testing.T) {
	good := DTMF('5', 200*ms, 0)
	barely := slices.Repeat([]int16{quietest - 1, 1 - quietest}, 4000)
	for want, b := range map[string][]byte{
		"44100 Hz: prompts must be 8000 Hz mono":                                                   file(44100, 1, good),
		"8000 Hz with 2 channels: prompts must be 8000 Hz mono":                                    file(8000, 2, good),
		"48000 Hz with 6 channels: prompts must be 8000 Hz mono":                                   file(48000, 6, good),
		"no sound that can be read: prompts must be WAV files with 16-bit PCM, A-law or µ-law":     []byte("ID3\x03"),
		"0.000 seconds: prompts must be 0.1 to 60 seconds long":                                    file(8000, 1, nil),
		"0.099 seconds: prompts must be 0.1 to 60 seconds long":                                    file(8000, 1, DTMF('5', 99*ms, 0)),
		"60.001 seconds: prompts must be 0.1 to 60 seconds long":                                   file(8000, 1, DTMF('5', time.Minute+ms, 0)),
		"1048577 bytes: prompts must be 1048576 bytes at most":                                     append(file(8000, 1, good), make([]byte, MaxUpload+1-44-2*len(good))...),
		"a file that ends after 0.2 seconds, before its own header says: prompts must be complete": file(8000, 1, good)[:44+2*len(good)-2],
		"nothing but silence: prompts must be heard":                                               file(8000, 1, barely),
	} {
		c, err := Parse(b)
		var refused *UploadError
		if !errors.As(err, &refused) || err.Error() != want || !c.IsZero() {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := Parse(file(8000, 1, append(barely, quietest))); err != nil {
		t.Errorf("one sample that is heard: %v", err)
	}
}

func TestEachRefusalHasItsKind(t *testing.T) {
	for want, b := range map[Refusal][]byte{
		TooLarge: make([]byte, MaxUpload+1), NotWAV: nil, Format: file(16000, 1, DTMF('1', time.Second, 0)),
		CutShort: file(8000, 1, DTMF('1', time.Second, 0))[:1000], TooShort: file(8000, 1, DTMF('1', 50*ms, 0)),
		TooLong: file(8000, 1, make([]int16, 61*8000)), Silent: file(8000, 1, make([]int16, 8000)),
	} {
		_, err := Parse(b)
		if refused, ok := err.(*UploadError); !ok || refused.Refusal != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file(8000, 1, DTMF('5', 100*ms, 0)))
	f.Add(coded(g711.ULaw, g711.ULaw.Encode(nil, DTMF('5', 100*ms, 0))))
	f.Add(file(44100, 2, DTMF('5', 100*ms, 0)))
	f.Add(file(8000, 1, make([]int16, 800))[:60])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		var refused *UploadError
		switch {
		case err == nil:
			if c.Duration() < MinDuration || c.Duration() > MaxDuration || len(b) > MaxUpload || len(c.alaw) != len(c.ulaw) {
				t.Errorf("took %v of sound from %d bytes", c.Duration(), len(b))
			}
		case !errors.As(err, &refused) || !c.IsZero():
			t.Errorf("%v, with %v of sound", err, c.Duration())
		case refused.Refusal == "" || refused.Wanted == "" || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }):
			t.Errorf("nobody can be shown %q", err)
		}
	})
}
