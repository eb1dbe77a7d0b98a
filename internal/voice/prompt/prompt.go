// Package prompt holds what Tandem itself says and hears on a call: the
// announcements, the tones of call progress, and the two ways to learn which key
// was pressed, telephone-event (RFC 4733) and the sound of it. It is for
// everything in voice that plays to a party or asks for digits.
//
// The announcements below assets are spoken by espeak-ng. After a change to
// their words, scripts/make-prompts writes them anew; they are committed, so
// that nobody else needs a voice to build.
package prompt

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/wav"
)

// A Name says which announcement.
type Name string

// The announcements, with their English words.
const (
	EnterPIN     Name = "enter_pin"     // Please enter your PIN.
	WrongPIN     Name = "wrong_pin"     // That PIN is not valid. Please try again.
	PINFailed    Name = "pin_failed"    // That PIN is not valid. Goodbye.
	Connecting   Name = "connecting"    // Please wait while we connect your call.
	NotAvailable Name = "not_available" // This number cannot connect your call. Please check with the service that gave it to you.
	Unreachable  Name = "unreachable"   // The person you are calling cannot be reached right now. Please try again later.
	Recorded     Name = "recorded"      // This call is being recorded.
)

// Names gives all announcements, sorted.
func Names() []Name {
	return []Name{Connecting, EnterPIN, NotAvailable, PINFailed, Recorded, Unreachable, WrongPIN}
}

// English is the language of what is asked for in a language nobody speaks here.
const English = "en"

// A Clip is a piece of sound, coded in both laws ahead of time. It does not
// change; its zero value has no sound.
type Clip struct{ alaw, ulaw []byte }

// newClip codes pcm.
func newClip(pcm []int16) Clip {
	return Clip{
		alaw: g711.ALaw.Encode(make([]byte, 0, len(pcm)), pcm),
		ulaw: g711.ULaw.Encode(make([]byte, 0, len(pcm)), pcm),
	}
}

// Audio gives the sound in a law, an octet for each sample at 8 kHz; nil for
// g711.None. Everybody gets the same octets, so they must not be written to.
func (c Clip) Audio(law g711.Law) []byte {
	switch law {
	case g711.ALaw:
		return c.alaw
	case g711.ULaw:
		return c.ulaw
	}
	return nil
}

// Duration is how long it takes to say.
func (c Clip) Duration() time.Duration {
	return time.Duration(len(c.alaw)) * (time.Second / g711.Rate)
}

// IsZero reports whether there is nothing to hear.
func (c Clip) IsZero() bool { return len(c.alaw) == 0 }

// A Key says which announcement of whom. Language is written as in the folders
// of assets: "en", "hi".
type Key struct {
	Tenant, Language string
	Name             Name
}

// A Library is where sounds are looked up. It may be used by everybody at once;
// looking up takes no lock.
type Library struct {
	builtin   map[Key]Clip // with no tenant; never written after Builtin
	languages []string
	tenants   atomic.Pointer[map[Key]Clip] // the map is never written
	tones     tones
}

//go:embed assets/*/*.wav
var assets embed.FS

// File gives the WAV file of an announcement that the program brings along.
func File(language string, name Name) (file []byte, ok bool) {
	file, err := assets.ReadFile("assets/" + language + "/" + string(name) + ".wav")
	return file, err == nil
}

// Builtin gives a library of what is in the program. It decodes all of it, so
// one is enough for a process. It fails only if the program was built wrong.
func Builtin() (*Library, error) {
	l := &Library{builtin: make(map[Key]Clip), tones: newTones()}
	l.tenants.Store(&map[Key]Clip{})
	files, err := fs.Glob(assets, "assets/*/*.wav")
	if err != nil {
		return nil, fmt.Errorf("list prompts: %w", err)
	}
	for _, file := range files {
		b, err := assets.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read prompt: %w", err)
		}
		sound, err := wav.Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if sound.Rate != g711.Rate || sound.Channels != 1 {
			return nil, fmt.Errorf("%s: %d Hz with %d channels", file, sound.Rate, sound.Channels)
		}
		key := Key{Language: path.Base(path.Dir(file)), Name: Name(strings.TrimSuffix(path.Base(file), ".wav"))}
		l.builtin[key] = newClip(sound.Samples)
		if !slices.Contains(l.languages, key.Language) {
			l.languages = append(l.languages, key.Language)
		}
	}
	slices.Sort(l.languages)
	return l, nil
}

// Languages gives the languages that everything is spoken in without any
// recording of a tenant's, sorted.
func (l *Library) Languages() []string { return slices.Clone(l.languages) }

// Has reports whether a language is one of Languages.
func (l *Library) Has(language string) bool {
	_, found := slices.BinarySearch(l.languages, language)
	return found
}

// Clip gives an announcement: the tenant's own recording in that language, else
// ours, else the same in English. It is zero only for a name that is none.
func (l *Library) Clip(tenant, language string, name Name) Clip {
	own := *l.tenants.Load()
	for _, spoken := range [...]string{language, English} {
		if c, ok := own[Key{tenant, spoken, name}]; ok {
			return c
		}
		if c, ok := l.builtin[Key{"", spoken, name}]; ok {
			return c
		}
	}
	return Clip{}
}

// Replace takes the recordings of all tenants in the place of those it had. A
// zero Clip counts as none. What is being played plays on.
func (l *Library) Replace(tenants map[Key]Clip) {
	own := maps.Clone(tenants)
	maps.DeleteFunc(own, func(_ Key, c Clip) bool { return c.IsZero() })
	l.tenants.Store(&own)
}
