package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"tandem/internal/client"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/wav"
)

const maxRecording = 16 << 20 // bytes; the calls of the demo are short

// fetchRecording downloads what A and B said in their first call, and listens to
// both channels.
func (d *demo) fetchRecording(ctx context.Context) error {
	d.say.title("What was recorded")
	calls, err := d.api.Calls(ctx, tenant, client.CallFilter{GreenVNID: d.allocation.GreenVNID, Status: "ended"})
	if err != nil {
		return err
	}
	slices.Reverse(calls.Items) // newest first
	sid := calls.Items[0].CallSID
	var about client.Recording
	err = until(ctx, func() (done bool, err error) {
		about, err = d.api.Recording(ctx, tenant, sid)
		return about.Status != "recording", err
	})
	if err != nil {
		return fmt.Errorf("a recording that is stored: %w", err)
	}
	path := filepath.Join(d.dir, sid+".wav")
	if err := d.save(ctx, sid, path); err != nil {
		return err
	}
	left, right, err := channels(path)
	if err != nil {
		return err
	}
	a, b := phone.Tone(left, partyA.hz), phone.Tone(right, partyB.hz)
	d.say.check(about.Status == "stored" && !about.Truncated && a > 0.9 && b > 0.9,
		"GET …/calls/%s/recording: %d s in stereo; left %.1f %% of the energy at %.0f Hz, the tone of A, right %.1f %% at %.0f Hz, the tone of B",
		sid, about.Duration, 100*a, partyA.hz, 100*b, partyB.hz)
	d.say.line("  to be played: %s", path)
	return d.say.failure()
}

func (d *demo) save(ctx context.Context, sid, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = d.api.SaveRecording(ctx, tenant, sid, f)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// channels reads both sides of a recording.
func channels(path string) (left, right []int16, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	s, err := wav.Read(f, maxRecording)
	if err != nil {
		return nil, nil, err
	}
	if s.Channels != 2 {
		return nil, nil, fmt.Errorf("the recording has %d channels", s.Channels)
	}
	for i := 0; i+1 < len(s.Samples); i += 2 {
		left, right = append(left, s.Samples[i]), append(right, s.Samples[i+1])
	}
	return left, right, nil
}
