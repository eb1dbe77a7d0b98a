package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/voice/g711"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/wav"
)

// desk is where somebody of a tenant listens to recordings: an HTTP client that
// knows nothing of the server but its address and his credentials.
type desk struct {
	t                        *testing.T
	ctx                      context.Context
	web                      *http.Client
	url                      string // of the tenant
	account, token, tenantID string
}

func (st *stage) desk(tenant string) desk {
	who := st.Tenant(tenant)
	return desk{st.t, st.ctx, st.HTTP, "http://" + st.App.Addrs().HTTP + "/v1/tenants/", who.AccountSID, who.Token, tenant}
}

func (s *site) desk(p *process) desk {
	return desk{s.t, s.ctx, s.web, "http://" + p.addrs.HTTP + "/v1/tenants/", s.tenant.AccountSID, s.tenant.Token, "acme"}
}

// answer is an answer of HTTP, read to its end.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// ask sends a request about one of the tenant's resources. header is name and
// value in turn.
func (d desk) ask(method, path, body string, header ...string) answer {
	d.t.Helper()
	return d.of(d.tenantID, method, path, body, header...)
}

// of asks about another tenant's.
func (d desk) of(tenant, method, path, body string, header ...string) answer {
	d.t.Helper()
	a, err := d.try(tenant, method, path, body, header...)
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

func (d desk) try(tenant, method, path, body string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(d.ctx, method, d.url+tenant+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.SetBasicAuth(d.account, d.token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := d.web.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, b}, err
}

// read asks for a resource that is there and decodes it.
func (d desk) read(path string, out any) {
	d.t.Helper()
	a := d.ask("GET", path, "")
	if a.Status != 200 {
		d.t.Fatalf("GET %s: %d %s", path, a.Status, a.Body)
	}
	if err := json.Unmarshal(a.Body, &struct {
		Response any `json:"response"`
	}{out}); err != nil {
		d.t.Fatal(err)
	}
}

// code is why the API refuses.
func (a answer) code() string {
	var v struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	_ = json.Unmarshal(a.Body, &v) // a body that is none has no code
	return v.Error.Code
}

// recordingInfo is what the API knows of a recording.
type recordingInfo struct {
	CallSID        string `json:"call_sid"`
	Status         string `json:"status"`
	Duration       int    `json:"duration"`
	Size           int    `json:"size"`
	Truncated      bool   `json:"truncated"`
	DroppedPackets int    `json:"dropped_packets"`
	Reason         string `json:"reason"`
	LegalHold      bool   `json:"legal_hold"`
	Peaks          *struct {
		Left  []int `json:"left"`
		Right []int `json:"right"`
	} `json:"peaks"`
}

func soundPath(call string) string { return "/calls/" + call + "/recording" }

func (d desk) info(call string) (r recordingInfo) {
	d.t.Helper()
	d.read(soundPath(call)+"/info", &r)
	return r
}

// calls are the ids of all calls, newest first.
func (d desk) calls() (ids []string) {
	d.t.Helper()
	var page struct {
		Items []struct {
			CallSID string `json:"call_sid"`
		} `json:"items"`
	}
	d.read("/calls?limit=100", &page)
	for _, c := range page.Items {
		ids = append(ids, c.CallSID)
	}
	return ids
}

// callEvent is an event about a call.
type callEvent struct {
	Type string `json:"type"`
	Data struct {
		CallSID      string  `json:"call_sid"`
		RecordingURL *string `json:"recording_url"`
		Duration     int     `json:"duration"`
		Size         int     `json:"size"`
		Truncated    bool    `json:"truncated"`
		Reason       string  `json:"reason"`
	} `json:"data"`
}

// told are all events of a type about a call.
func (d desk) told(typ, call string) (found []callEvent) {
	d.t.Helper()
	for cursor := ""; ; {
		var page struct {
			Items []callEvent `json:"items"`
			Next  string      `json:"next_cursor"`
		}
		d.read("/events?limit=100&cursor="+cursor, &page)
		if len(page.Items) == 0 {
			return found
		}
		for _, e := range page.Items {
			if e.Type == typ && e.Data.CallSID == call {
				found = append(found, e)
			}
		}
		cursor = page.Next
	}
}

// stored waits until the recording of a call is stored, and holds what the API
// says of it together: one recording.ready, the URL in it and in call.completed,
// sizes, the waveform.
func (d desk) stored(call string) (recordingInfo, tape) {
	d.t.Helper()
	waitFor(d.t, d.ctx, func() bool { return d.info(call).Status == "stored" }, "the recording in the store")
	r, url := d.info(call), "/v1/tenants/"+d.tenantID+soundPath(call)
	ready := d.told("recording.ready", call)
	if len(ready) != 1 || len(d.told("recording.failed", call)) != 0 {
		d.t.Fatalf("%d events of a recording that is ready", len(ready))
	}
	if e := ready[0].Data; e.RecordingURL == nil || *e.RecordingURL != url || e.Duration != r.Duration || e.Size != r.Size || e.Truncated != r.Truncated {
		d.t.Errorf("recording.ready tells %+v, the API %+v", e, r)
	}
	file := d.ask("GET", soundPath(call), "")
	if file.Status != 200 || file.Header.Get("Content-Type") != "audio/wav" || len(file.Body) != r.Size {
		d.t.Fatalf("GET: %d with %d bytes of %s, %d announced", file.Status, len(file.Body), file.Header.Get("Content-Type"), r.Size)
	}
	sound := listenTo(d.t, file.Body)
	if got := len(sound[0]) / phone.Rate; got != r.Duration {
		d.t.Errorf("%d seconds in the file, %d announced", got, r.Duration)
	}
	if r.Peaks == nil || len(r.Peaks.Left) == 0 || len(r.Peaks.Left) > 500 || len(r.Peaks.Left) != len(r.Peaks.Right) {
		d.t.Errorf("waveform %+v", r.Peaks)
	}
	return r, sound
}

// tape is what a recording sounds like: the caller, left, and the callee.
type tape [2][]int16

// listenTo reads a WAV file with both channels.
func listenTo(t *testing.T, file []byte) tape {
	t.Helper()
	sound, err := wav.Read(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if sound.Rate != phone.Rate || sound.Channels != 2 || sound.Cut {
		t.Fatalf("%d Hz, %d channels, cut: %v", sound.Rate, sound.Channels, sound.Cut)
	}
	if riff := binary.LittleEndian.Uint32(file[4:]); int(riff) != len(file)-8 {
		t.Errorf("the head of the file tells %d bytes of %d", riff, len(file)-8)
	}
	var both tape
	for i, s := range sound.Samples {
		both[i%2] = append(both[i%2], s)
	}
	return both
}

// clocked is a source that remembers when it was asked for each frame.
type clocked struct {
	phone.Source
	mu sync.Mutex
	at []time.Time
}

func says(pcm []int16) *clocked { return &clocked{Source: phone.Samples(pcm)} }

// Read gives the next frame.
func (c *clocked) Read(pcm []int16) int {
	c.mu.Lock()
	c.at = append(c.at, time.Now())
	c.mu.Unlock()
	return c.Source.Read(pcm)
}

// when is the moment of each frame so far.
func (c *clocked) when() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.at)
}

const frame = phone.Rate / 50 // samples that a phone sends at once

// spot is where a frame of what was said stands in a channel.
type spot struct{ frame, position int }

// spots finds the frames of what was said, through either law, in a channel: the 40
// samples in the middle of each, which noise has nowhere else. They stand in the
// order in which they were said; what is missing is left out.
func spots(channel, said []int16) (found []spot) {
	const from, most = 60, 40 * phone.Rate
	next := 0   // where the next frame is, if all is as before
	missed := 0 // frames in a row
	laws := [2][]int16{phone.Through("PCMA", said), phone.Through("PCMU", said)}
	for f := 0; (f+1)*frame <= len(said); f++ {
		begin := max(0, next-phone.Rate/2)
		end := min(len(channel), next+phone.Rate/2)
		if len(found) == 0 || missed == 2 || f%50 == 0 { // it may have begun late, or paused
			end = min(len(channel), next+most)
		}
		missed++
		for i, law := range laws {
			if at := find(channel[min(begin, end):end], law[f*frame+from:f*frame+from+40]); at >= 0 {
				next, missed = begin+at-from, 0
				found = append(found, spot{f, next})
				laws[0], laws[i] = laws[i], laws[0] // the likelier one first
				break
			}
		}
		next += frame
	}
	return found
}

// find gives the place of want, -1 if it is nowhere.
func find(in, want []int16) int {
	for i := 0; i+len(want) <= len(in); i++ {
		if in[i] == want[0] && slices.Equal(in[i:i+len(want)], want) {
			return i
		}
	}
	return -1
}

// holds fails unless a channel holds what was said, in its order and nearly all of
// it: the first moment may be missing, while the sides were being connected, and a
// frame that the recorder joined to the one before has lost a few samples.
func (d desk) holds(side string, channel, said []int16) {
	d.t.Helper()
	found := spots(channel, said)
	if n := len(said) / frame; len(found) == 0 || found[0].frame > 25 || len(found) < n-found[0].frame-n/50 {
		d.t.Fatalf("%s: %d frames of %d are in the recording", side, len(found), n)
	}
	for i := 1; i < len(found); i++ {
		if step := (found[i].position - found[i-1].position) - frame*(found[i].frame-found[i-1].frame); step < -frame || step > frame {
			d.t.Errorf("%s: frame %d is moved by %d samples", side, found[i].frame, step)
		}
	}
}

// unheard is the lag of a second in which nothing was heard.
const unheard = -1 << 63

// lags are by how much a channel is behind the source in each second of the
// recording, counted from a moment: that of the frame which took the longest way
// ahead of its place. A phone that was kept waiting by a busy machine sends late,
// and says nothing of where the recorder put the others.
func lags(channel, said []int16, at []time.Time, from time.Time) []time.Duration {
	list := make([]time.Duration, len(channel)/phone.Rate+1)
	for i := range list {
		list[i] = unheard
	}
	for _, s := range spots(channel, said) {
		if s.frame < len(at) && s.position >= 0 {
			second := s.position / phone.Rate
			is := time.Duration(s.position)*time.Second/phone.Rate - at[s.frame].Sub(from)
			list[second] = max(list[second], is)
		}
	}
	return list
}

// apart is by how much what the two sides said at one moment is apart in each
// second of the recording in which both were heard: how much farther behind the
// callee's channel is than the caller's.
func apart(sound, said tape, sources [2]*clocked) (list []time.Duration) {
	from := sources[0].when()[0]
	left := lags(sound[0], said[0], sources[0].when(), from)
	right := lags(sound[1], said[1], sources[1].when(), from)
	for second := range min(len(left), len(right)) {
		if left[second] != unheard && right[second] != unheard {
			list = append(list, right[second]-left[second])
		}
	}
	return list
}

// plainIn reports whether a run of what was said stands in a file: as a codec has
// it, or as samples, of one channel or between those of another.
func plainIn(file []byte, said []int16) bool {
	for _, codec := range []string{"PCMA", "PCMU"} {
		run := phone.Through(codec, said[50*frame+20:50*frame+60])
		if bytes.Contains(file, g711.LawOf(codec).Encode(nil, run)) {
			return true
		}
		for _, stride := range []int{2, 4} {
			for i := 0; i+stride*len(run) <= len(file); i++ {
				if file[i] == byte(run[0]) && standsAt(file[i:], run, stride) {
					return true
				}
			}
		}
	}
	return false
}

func standsAt(file []byte, run []int16, stride int) bool {
	for i, s := range run {
		if int16(binary.LittleEndian.Uint16(file[stride*i:])) != s {
			return false
		}
	}
	return true
}

// nothingPlain fails if a folder holds a run of what was said, or a file whose name
// tells one of the secrets.
func nothingPlain(t *testing.T, dir string, said []int16, secrets ...string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files++
		for _, s := range secrets {
			if strings.Contains(strings.TrimPrefix(path, dir), s) {
				t.Error("the name of a file tells a number or a PIN")
			}
		}
		b, err := os.ReadFile(path)
		if plainIn(b, said) {
			t.Errorf("%s holds what was said in plain", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files were looked at: %v", files, err)
	}
}

// national are the digits of a number that a file name might tell.
func national(number string) string { return number[len(number)-8:] }
