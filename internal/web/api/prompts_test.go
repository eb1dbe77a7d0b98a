package api_test

import (
	"strings"
	"testing"

	"tandem/internal/web/api"
)

// wav sends a body as a WAV file.
func wav() option { return header("Content-Type", "audio/wav") }

func TestATenantSaysAnnouncementsInHisOwnWords(t *testing.T) {
	h := newHarness(t)
	const builtin = `{"response":{"items":[{"language":"en","name":"enter_pin","source":"builtin"},{"language":"en","name":"recorded","source":"builtin"},{"language":"hi","name":"enter_pin","source":"builtin"},{"language":"hi","name":"recorded","source":"builtin"}],"next_cursor":""}}`
	h.own("GET", "/prompts", "").want(200).exactly(builtin)
	const one = "/prompts/hi/enter_pin"
	ours := h.own("GET", one, "").want(200)
	if ours.body != "RIFF of ours: hi enter_pin" || ours.header.Get("Content-Type") != "audio/wav" {
		t.Errorf("ours: %q as %s", ours.body, ours.header.Get("Content-Type"))
	}
	file := "RIFF" + strings.Repeat("\xff\x00", (api.MaxAudio-4)/2)
	h.own("PUT", one, file, wav()).want(200).
		exactly(`{"response":{"language":"hi","name":"enter_pin","source":"own","updated_at":"2024-06-15T10:30:00+05:30"}}`)
	if got := h.own("GET", one, "").want(200); got.body != file || got.header.Get("ETag") == ours.header.Get("ETag") {
		t.Errorf("his own comes back as %d bytes, tag %s", len(got.body), got.header.Get("ETag"))
	}
	if got := h.own("GET", "/prompts", "").body; strings.Count(got, `"own","updated_at":"2024-06-15T10:30:00+05:30"`) != 1 {
		t.Errorf("the list: %s", got)
	}
	for _, media := range []string{"audio/x-wav", "audio/wave", "application/octet-stream", "audio/vnd.wave", ""} {
		h.own("PUT", one, "RIFF "+media, header("Content-Type", media)).want(200)
	}
	sid, token := h.tenant("other")
	other := as(sid, token)
	if got := h.do("GET", "/v1/tenants/other"+one, "", other).want(200); got.body != ours.body {
		t.Errorf("another tenant hears %q", got.body)
	}
	h.do("GET", "/v1/tenants/acme"+one, "", other).refused(404, "not_found", "")
	h.own("DELETE", one, "").want(200).exactly(`{"response":{"language":"hi","name":"enter_pin","source":"builtin"}}`)
	h.own("DELETE", one, "").refused(404, "not_found", "")
	h.own("GET", "/prompts", "").want(200).exactly(builtin)
	if got := h.own("GET", one, "").want(200); got.body != ours.body {
		t.Errorf("after going back: %q", got.body)
	}
}

func TestPromptsThatCannotBePlayedAreRefused(t *testing.T) {
	h := newHarness(t)
	const one = "/prompts/en/recorded"
	a := h.own("PUT", one, "ID3 of a song", wav()).refused(400, "invalid_audio", "")
	if a.text("message") != "no sound that can be read: prompts must be WAV files" {
		t.Errorf("the refusal says %q", a.text("message"))
	}
	h.refuseAll(t, []refusal{
		{name: "nothing", method: "PUT", path: one, options: []option{wav()}, status: 400, code: "invalid_body"},
		{name: "JSON", method: "PUT", path: one, body: `{}`, status: 400, code: "invalid_body"},
		{name: "a form", method: "PUT", path: one, body: "RIFF", options: []option{header("Content-Type", "multipart/form-data; boundary=x")}, status: 400, code: "invalid_body"},
		{name: "packed", method: "PUT", path: one, body: "RIFF", options: []option{wav(), header("Content-Encoding", "gzip")}, status: 400, code: "invalid_body"},
		{name: "a byte too many", method: "PUT", path: one, body: "RIFF" + strings.Repeat("a", api.MaxAudio-3), options: []option{wav()}, status: 400, code: "invalid_body"},
		{name: "no such name", method: "PUT", path: "/prompts/en/hello", body: "RIFF", options: []option{wav()}, status: 404, code: "not_found"},
		{name: "no such language", method: "PUT", path: "/prompts/fr/recorded", body: "RIFF", options: []option{wav()}, status: 404, code: "not_found"},
		{method: "GET", path: "/prompts/en/hello", status: 404, code: "not_found"},
		{method: "GET", path: "/prompts/hi/recorded", status: 404, code: "not_found"}, // nobody speaks it
		{method: "DELETE", path: one, status: 404, code: "not_found"},
		{method: "POST", path: one, status: 400, code: "method_not_allowed"},
		// Elsewhere a body is JSON, and small, as ever.
		{name: "a sound for an allocation", method: "POST", path: "/greenvn", body: "RIFF", options: []option{wav()}, status: 400, code: "invalid_body"},
		{name: "a large allocation", method: "POST", path: "/greenvn", body: strings.Repeat(" ", api.MaxBody+1), status: 400, code: "invalid_body"},
	})
}

func TestAStrangerSendsNoSound(t *testing.T) {
	h := newHarness(t)
	// Less than the server would read on to keep the connection, were it not told
	// otherwise.
	file := "RIFF" + strings.Repeat("a", 100_000)
	for name, o := range map[string]option{"stranger": as(h.sid, "tdm_wrong"), "foreign": as(h.tenant("other"))} {
		a := h.own("PUT", "/prompts/en/recorded", file, wav(), o)
		if want := map[string]int{"stranger": 401, "foreign": 404}[name]; a.status != want || !a.closing {
			t.Errorf("%s: %d, closing %v", name, a.status, a.closing)
		}
	}
	if got := h.own("GET", "/prompts", "").body; strings.Contains(got, "own") {
		t.Errorf("a stranger's was kept: %s", got)
	}
}

func TestARepeatedSoundIsOneRequestAndAnotherIsNot(t *testing.T) {
	h := newHarness(t)
	first := h.own("PUT", "/prompts/en/recorded", "RIFF a", wav(), key("k")).want(200)
	if again := h.own("PUT", "/prompts/en/recorded", "RIFF a", wav(), key("k")).want(200); again.body != first.body {
		t.Errorf("again %s, first %s", again.body, first.body)
	}
	h.own("PUT", "/prompts/en/recorded", "RIFF b", wav(), key("k")).refused(409, "idempotency_key_reused", "")
}
