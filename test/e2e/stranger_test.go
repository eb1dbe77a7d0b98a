package e2e

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"tandem/internal/voice/phone"
)

// policy sets what strangers get: the tenant's, or with a number that number's.
func (st *stage) policy(number string, policy map[string]any) {
	st.t.Helper()
	body := map[string]any{"stranger_policy": policy}
	if number == "" {
		st.must(st.Do("acme", "PUT", "/v1/tenants/acme/settings", body, nil))
		return
	}
	st.must(st.Do("", "PUT", "/v1/admin/tenants/acme/numbers/"+number, body, nil))
}

func TestAStrangerHearsWordsAndIsRefused(t *testing.T) {
	t.Parallel()
	for language, least := range map[string]time.Duration{"en": 3 * time.Second, "hi": 3 * time.Second} {
		t.Run(language, func(t *testing.T) {
			st := newStage(t, setting{})
			st.allocate(nil)
			st.must(st.Do("acme", "PUT", "/v1/tenants/acme/settings", map[string]any{"language": language}, nil))
			c := st.dial(st.in, carol)
			if status := st.refused(c); status != 403 {
				t.Errorf("status %d", status)
			}
			if heard := time.Duration(len(c.Heard())) * time.Second / phone.Rate; heard < least {
				t.Errorf("he heard %v", heard)
			}
			st.nobodyCalled()
			if r := st.record(); r.Reason != "stranger" || r.Cause != "rejected" {
				t.Errorf("record %+v", r)
			}
		})
	}
}

func TestAStrangerWhoCallsAgainAndAgainIsRefusedInSilence(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	for i := range 8 {
		c := st.dial(st.in, carol)
		if i < 5 {
			st.must(c.Hears(st.ctx, phone.Rate/2))
			st.must(c.Cancel())
		}
		end, err := c.Ended(st.ctx)
		st.must(err)
		if want := map[bool]int{true: 487, false: 403}[i < 5]; end.Status != want {
			t.Errorf("call %d ended with %d, want %d", i+1, end.Status, want)
		}
		if i >= 5 && len(c.Heard()) > 0 {
			t.Errorf("call %d heard words", i+1)
		}
	}
	st.settle()
}

// tenantServer is a tenant's own server, which says what strangers get.
type tenantServer struct {
	*httptest.Server
	mu     sync.Mutex
	answer map[string]string
	asked  int
}

func newTenantServer(t *testing.T) *tenantServer {
	s := &tenantServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Webhook-Signature") == "" {
			t.Error("a question without a signature")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked++
		_ = json.NewEncoder(w).Encode(s.answer)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *tenantServer) say(action, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = map[string]string{"action": action, "forward_to": to}
}

func (s *tenantServer) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func TestEachPolicyDoesWithAStrangerWhatItSays(t *testing.T) {
	t.Parallel()
	server := newTenantServer(t)
	st := newStage(t, setting{environ: []string{"TANDEM_WEBHOOK_ALLOW_PRIVATE=true"}})
	st.allocate(nil)

	st.policy("", map[string]any{"action": "reject"})
	if c := st.dial(st.in, carol); st.refused(c) != 403 || len(c.Heard()) > 0 {
		t.Error("reject: he heard something, or was not refused")
	}

	forwarded := func(what string) {
		t.Helper()
		c := st.dial(st.in, carol)
		b := st.called()
		if seen := b.Seen(); seen.RequestUser != dave || seen.From != virtual {
			t.Errorf("%s: %s was rung by %s", what, seen.RequestUser, seen.From)
		}
		st.must(b.Answer(phone.Reply{Audio: phone.Sine(880, 8000)}))
		st.must(c.Answered(st.ctx))
		st.must(c.HearsTone(st.ctx, 880))
		st.must(c.Hangup(st.ctx))
		st.over(c, b)
		st.settle()
	}
	st.policy("", map[string]any{"action": "forward", "forward_to": dave})
	forwarded("forward")

	st.policy("", map[string]any{"action": "webhook", "webhook_url": server.URL})
	server.say("forward", dave)
	forwarded("webhook that forwards")
	server.say("reject", "")
	if c := st.dial(st.in, carol); st.refused(c) != 403 || len(c.Heard()) > 0 {
		t.Error("webhook that rejects: he heard something, or was not refused")
	}
	server.say("forward", virtual) // back to us: fails closed
	c := st.dial(st.in, carol)
	st.must(c.Hears(st.ctx, phone.Rate/2))
	st.must(c.Cancel())
	st.over(c)
	server.say("pin", "")
	c = st.asked(st.in, carol)
	st.must(c.Hangup(st.ctx))
	st.over(c)
	if n := server.questions(); n != 4 {
		t.Errorf("the server was asked %d times", n)
	}

	st.policy(virtual, map[string]any{"action": "reject"}) // the number's own comes first
	if c := st.dial(st.in, carol); st.refused(c) != 403 || server.questions() != 4 {
		t.Error("the number's policy did not come before the tenant's")
	}
	st.policy(virtual, map[string]any{"action": "pin"})
	c = st.asked(st.in, carol)
	st.must(c.Press(st.ctx, "3571", quick))
	st.must(c.Hangup(st.ctx))
	st.over(c)
	st.settle()
}

// upload puts an announcement of the tenant's own in place of ours, and gives the
// status.
func (st *stage) upload(language, name string, file []byte) int {
	st.t.Helper()
	req, err := http.NewRequestWithContext(st.ctx, http.MethodPut, "http://"+st.App.Addrs().HTTP+"/v1/tenants/acme/prompts/"+language+"/"+name,
		bytes.NewReader(file))
	st.must(err)
	credentials := st.Tenant("acme")
	req.SetBasicAuth(credentials.AccountSID, credentials.Token)
	req.Header.Set("Content-Type", "audio/wav")
	res, err := st.HTTP.Do(req)
	st.must(err)
	_ = res.Body.Close()
	return res.StatusCode
}

func TestATenantsOwnAnnouncementIsHeardInPlaceOfOurs(t *testing.T) {
	t.Parallel()
	st := newStage(t, setting{})
	st.allocate(nil)
	tone := make([]int16, 2*phone.Rate)
	for i := range tone {
		tone[i] = phone.Through("PCMA", []int16{int16(9000 * math.Sin(2*math.Pi*1000*float64(i)/phone.Rate))})[0]
	}
	var file bytes.Buffer
	st.must(phone.WriteWAV(&file, tone))
	for name, bad := range map[string][]byte{"no WAV": []byte("words"), "cut short": file.Bytes()[:file.Len()-100], "nothing": nil} {
		if status := st.upload("hi", "not_available", bad); status != 400 {
			t.Errorf("%s: status %d", name, status)
		}
	}
	if status := st.upload("hi", "not_available", file.Bytes()); status != 200 {
		t.Fatalf("status %d", status)
	}
	st.must(st.Do("acme", "PUT", "/v1/tenants/acme/settings", map[string]any{"language": "hi"}, nil))
	waitFor(t, st.ctx, func() bool { // a change is live within two seconds
		c := st.dial(st.in, "+9198765"+strconv.Itoa(10000+rand.IntN(80000)))
		st.must(c.Hears(st.ctx, phone.Rate))
		own := phone.Tone(c.Heard(), 1000) > 0.9
		st.must(c.Cancel())
		st.over(c)
		return own
	}, "the tenant's own words")
	st.settle()
}
