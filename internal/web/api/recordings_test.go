package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// recorded writes a call of an allocation and its recording, of an hour before
// now, in the given status, and gives the call's id.
func (h *harness) recorded(allocation, vn string, status masking.RecordingStatus) masking.CallID {
	h.Helper()
	var random [10]byte
	h.mu.Lock()
	h.calls++
	random[0] = byte(h.calls)
	h.mu.Unlock()
	start := h.clock().Add(-time.Hour)
	id := masking.CallID(masking.NewID(masking.PrefixCall, start, random))
	call := masking.Call{ID: id, Tenant: "acme", Allocation: masking.AllocationID(allocation), VirtualNumber: e164.MustParse(vn), Caller: e164.MustParse(alice),
		Callee: e164.MustParse(bob), Direction: masking.FromCalls, Node: "n", StartedAt: start, Recorded: true}
	r := masking.Recording{Call: id, Tenant: "acme", Allocation: call.Allocation, VirtualNumber: call.VirtualNumber, Status: masking.RecordingRunning, StartedAt: start}
	err := write(h.store.Update, func(ctx context.Context, tx callWriter) error {
		if _, err := tx.BeginCall(ctx, call); err != nil {
			return err
		}
		call.AnsweredAt = start
		if _, err := tx.AnswerCall(ctx, call); err != nil {
			return err
		}
		if err := tx.BeginRecording(ctx, r); err != nil || status == masking.RecordingRunning {
			return err
		}
		r.Status, r.StoredAt = status, start.Add(time.Minute)
		if status == masking.RecordingFailed {
			r.Reason = "disk_full"
		} else {
			r.Key, r.Duration, r.Size, r.Peaks, r.Dropped = "acme/"+string(id), 61*time.Second, int64(len(theSound)), []byte{0, 255, 7, 8}, 3
		}
		_, err := tx.EndRecording(ctx, r)
		return err
	})
	if err != nil {
		h.Fatal(err)
	}
	if r.Key != "" {
		h.sounds.mu.Lock()
		h.sounds.files[r.Key] = theSound
		h.sounds.mu.Unlock()
	}
	return id
}

const theSound = "RIFF0123456789"

func TestARecordingIsGivenOutInWholeAndInParts(t *testing.T) {
	h := newHarness(t)
	id := string(h.recorded(h.create(vn1, alice, bob), vn1, masking.RecordingStored))
	path := "/calls/" + id + "/recording"
	whole := h.own("GET", path, "").want(200)
	for name, want := range map[string]string{"Content-Type": "audio/wav", "Content-Length": "14", "Accept-Ranges": "bytes",
		"Content-Disposition": `attachment; filename="` + id + `.wav"`, "Cache-Control": "private, no-store", "Last-Modified": "Sat, 15 Jun 2024 04:01:00 GMT"} {
		if got := whole.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	tag := whole.header.Get("ETag")
	if whole.body != theSound || !strings.HasPrefix(tag, `"`+id) {
		t.Errorf("%q, tag %s", whole.body, tag)
	}
	head := h.own("HEAD", path, "").want(200)
	if head.body != "" || head.header.Get("Content-Length") != "14" || head.header.Get("ETag") != tag {
		t.Errorf("HEAD: %q %v", head.body, head.header)
	}
	for _, c := range []struct {
		ask    string
		status int
		body   string
		place  string
		more   []option
	}{
		{"bytes=0-3", 206, "RIFF", "bytes 0-3/14", nil},
		{"bytes=-2", 206, "89", "bytes 12-13/14", nil},
		{"bytes=4-", 206, "0123456789", "bytes 4-13/14", nil},
		{"bytes=4-99", 206, "0123456789", "bytes 4-13/14", nil},
		{"bytes=0-0", 206, "R", "bytes 0-0/14", []option{header("If-Range", tag)}},
		{"bytes=0-0", 200, theSound, "", []option{header("If-Range", `"other"`)}},
		{"", 304, "", "", []option{header("If-None-Match", tag)}},
		{"", 200, theSound, "", []option{header("If-Match", `"other"`), header("If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")}},
	} {
		options := c.more
		if c.ask != "" {
			options = append(options, header("Range", c.ask))
		}
		a := h.own("GET", path, "", options...).want(c.status)
		if a.body != c.body || a.header.Get("Content-Range") != c.place {
			t.Errorf("Range %q: %q at %q, want %q at %q", c.ask, a.body, a.header.Get("Content-Range"), c.body, c.place)
		}
	}
	if two := h.own("GET", path, "", header("Range", "bytes=0-0,2-3")).want(206); !strings.Contains(two.body, "FF") || two.header.Get("Content-Range") != "" {
		t.Errorf("two ranges: %q", two.body)
	}
	for _, wrong := range []string{"bytes=14-", "bytes=99-100", "bytes=x"} {
		a := h.own("GET", path, "", header("Range", wrong)).refused(416, "invalid_range", "Range")
		if a.header.Get("Content-Disposition") != "" || a.header.Get("Content-Range") != "bytes */14" {
			t.Errorf("Range %q is refused with %v", wrong, a.header)
		}
	}
	if files, open := h.sounds.state(); files != 1 || open != 0 {
		t.Errorf("%d files, %d of them open", files, open)
	}
	if lines := strings.Count(h.logs.String(), `"msg":"recording opened","tenant":"acme","call":"`+id); lines < 10 {
		t.Errorf("%d lines in the log say who listened", lines)
	}
}

func TestARecordingThatIsNotThereSaysWhy(t *testing.T) {
	h := newHarness(t)
	allocation := h.create(vn1, alice, bob)
	running := string(h.recorded(allocation, vn1, masking.RecordingRunning))
	failed := string(h.recorded(allocation, vn1, masking.RecordingFailed))
	stored := string(h.recorded(allocation, vn1, masking.RecordingStored))
	plain := masking.CallID("call_000000000000000000000000zz")
	sid, token := h.tenant("other")
	for _, method := range []string{"GET", "DELETE"} {
		a := h.own(method, "/calls/"+running+"/recording", "").refused(409, "recording_not_ready", "")
		if a.header.Get("Retry-After") != "5" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
		h.own(method, "/calls/"+failed+"/recording", "").refused(404, "not_found", "")
		h.own(method, "/calls/"+string(plain)+"/recording", "").refused(404, "not_found", "")
		h.own(method, "/calls/x/recording", "").refused(404, "not_found", "")
		h.do(method, "/v1/tenants/other/calls/"+stored+"/recording", "", as(sid, token)).refused(404, "not_found", "")
	}
	h.own("PUT", "/calls/"+failed+"/recording", `{"legal_hold":true}`).refused(404, "not_found", "")
	h.own("PUT", "/calls/"+stored+"/recording", `{}`).refused(400, "missing_field", "legal_hold")
	h.own("PUT", "/calls/"+stored+"/recording", `{"legal_hold":"yes"}`).refused(400, "invalid_field", "legal_hold")
	h.own("GET", "/calls/"+stored+"/recording/info", "").want(200).
		exactly(`{"response":{"call_sid":"` + stored + `","status":"stored","duration":61,"size":14,"truncated":false,"dropped_packets":3,"legal_hold":false,"started_at":"2024-06-15T09:30:00+05:30","stored_at":"2024-06-15T09:31:00+05:30","peaks":{"left":[0,255],"right":[7,8]}}}`)
	h.own("GET", "/calls/"+running+"/recording/info", "").want(200).
		exactly(`{"response":{"call_sid":"` + running + `","status":"recording","duration":0,"size":0,"truncated":false,"dropped_packets":0,"legal_hold":false,"started_at":"2024-06-15T09:30:00+05:30"}}`)
	if got := h.own("GET", "/calls/"+failed+"/recording/info", "").want(200); got.text("reason") != "disk_full" || got.text("status") != "failed" {
		t.Errorf("of a failed one: %s", got.body)
	}
	for id, want := range map[string]string{
		running: `"recording":{"status":"recording","url":"/v1/tenants/acme/calls/` + running + `/recording","duration":0}`,
		stored:  `"recording":{"status":"stored","url":"/v1/tenants/acme/calls/` + stored + `/recording","duration":61}`,
		failed:  `"recording":{"status":"failed","duration":0}`,
	} {
		if got := h.own("GET", "/calls/"+id, "").want(200).body; !strings.Contains(got, want) || !strings.Contains(got, `"recording_url":"/v1/`) {
			t.Errorf("the call shows %s, want %s", got, want)
		}
	}
	if got := h.own("GET", "/calls", "").want(200).body; strings.Count(got, `"recording_url":"/v1/tenants/acme/calls/call_`) != 3 || strings.Contains(got, `"recording":`) {
		t.Errorf("the list of calls: %s", got)
	}
	if got := h.admin("GET", "/v1/admin/calls", "").want(200).body; strings.Contains(got, "recording") {
		t.Errorf("the operator's list: %s", got)
	}
	h.sounds.fail(errors.New("bucket on fire"))
	h.own("GET", "/calls/"+stored+"/recording", "").refused(503, "temporarily_unavailable", "")
	h.sounds.fail(nil)
	clear(h.sounds.files)
	h.own("GET", "/calls/"+stored+"/recording", "").refused(404, "not_found", "")
}

func TestARecordingIsDeletedUnlessItIsHeld(t *testing.T) {
	h := newHarness(t)
	id := string(h.recorded(h.create(vn1, alice, bob), vn1, masking.RecordingStored))
	path := "/calls/" + id + "/recording"
	if a := h.own("PUT", path, `{"legal_hold":true}`).want(200); a.fields["legal_hold"] != true || a.fields["peaks"] != nil {
		t.Errorf("held: %s", a.body)
	}
	h.own("DELETE", path, "").refused(409, "recording_held", "")
	if a := h.own("GET", path+"/info", "").want(200); a.fields["legal_hold"] != true || a.text("status") != "stored" {
		t.Errorf("held: %s", a.body)
	}
	h.own("PUT", path, `{"legal_hold":false}`).want(200)
	h.at("11:00:00")
	gone := h.own("DELETE", path, "").want(200).
		exactly(`{"response":{"call_sid":"` + id + `","status":"deleted","deleted_at":"2024-06-15T11:00:00+05:30"}}`)
	if files, _ := h.sounds.state(); files != 0 {
		t.Error("the sound is still there")
	}
	h.at("12:00:00")
	if again := h.own("DELETE", path, "").want(200); again.body != gone.body {
		t.Errorf("again %s, first %s", again.body, gone.body)
	}
	h.own("GET", path, "").refused(404, "not_found", "")
	h.own("PUT", path, `{"legal_hold":true}`).refused(404, "not_found", "")
	if a := h.own("GET", path+"/info", "").want(200); a.text("status") != "deleted" || a.text("deleted_at") != "2024-06-15T11:00:00+05:30" || a.fields["peaks"] != nil {
		t.Errorf("deleted: %s", a.body)
	}
	if got := h.own("GET", "/calls/"+id, "").body; !strings.Contains(got, `"recording":{"status":"deleted","duration":61}`) {
		t.Errorf("the call: %s", got)
	}
}

func TestCallsAndEventsOfAPINCarryItsNames(t *testing.T) {
	h := newHarness(t)
	pin, _ := h.pin(vn1, alice, bob)
	vn := h.create(vn2, alice, bob)
	of := map[string]string{pin: string(h.recorded(pin, vn1, masking.RecordingStored)), vn: string(h.recorded(vn, vn2, masking.RecordingStored))}
	if a := h.own("GET", "/calls/"+of[pin], "").want(200); a.text("greenpin_id") != pin || a.text("vn") != vn1 || strings.Contains(a.body, "greenvn") {
		t.Errorf("a PIN's call: %s", a.body)
	}
	if a := h.own("GET", "/calls/"+of[vn], "").want(200); a.text("greenvn_id") != vn || a.text("greenvn") != vn2 || strings.Contains(a.body, `"vn"`) {
		t.Errorf("a GreenVN's call: %s", a.body)
	}
	for query, want := range map[string]string{"greenpin_id=" + pin: of[pin], "greenvn_id=" + vn: of[vn]} {
		if got, _ := h.walk("/calls?"+query, "call_sid", 10); len(got) != 1 || got[0] != want {
			t.Errorf("%s gives %v, want %s", query, got, want)
		}
	}
	got := h.own("GET", "/greenpin/"+pin, "").want(200)
	if !strings.Contains(got.body, `"call_count":1`) || !strings.Contains(got.body, `"calls":{"attempted":1,"connected":1,"talk_seconds":0}`) {
		t.Errorf("after a call: %s", got.body)
	}
}

// slow is an answer whose deadlines a test sees.
type slow struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

func (s *slow) SetWriteDeadline(t time.Time) error {
	s.deadlines = append(s.deadlines, t)
	return nil
}

func TestALongDownloadGetsTimeAsItGoes(t *testing.T) {
	h := newHarness(t)
	id := string(h.recorded(h.create(vn1, alice, bob), vn1, masking.RecordingStored))
	h.sounds.mu.Lock()
	h.sounds.files["acme/"+id] = strings.Repeat("x", 200_000)
	h.sounds.mu.Unlock()
	r := httptest.NewRequest("GET", "/v1/tenants/acme/calls/"+id+"/recording", nil)
	r.SetBasicAuth(h.sid, h.token)
	w := &slow{ResponseRecorder: httptest.NewRecorder()}
	before := time.Now()
	h.handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK || w.Body.Len() != 200_000 || len(w.deadlines) < 5 {
		t.Fatalf("status %d, %d bytes, %d deadlines", w.Code, w.Body.Len(), len(w.deadlines))
	}
	for i, at := range w.deadlines {
		if at.Before(before.Add(30*time.Second)) || (i > 0 && at.Before(w.deadlines[i-1])) {
			t.Errorf("deadline %d is %s after the request began", i, at.Sub(before))
		}
	}
}
