package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var question = masking.Question{Tenant: "acme", Call: "call_1", VirtualNumber: e164.MustParse("+914000000001"),
	Caller: e164.MustParse("+919912345601"), Reason: masking.RefusedStranger, At: time.Now()}

// ask asks a server that behaves as handle says.
func ask(t *testing.T, o AskerOptions, handle http.HandlerFunc) (masking.Answer, error) {
	t.Helper()
	server := httptest.NewServer(handle)
	defer server.Close()
	o.Secret = func(masking.TenantID) string { return secret }
	a := NewAsker(o)
	defer a.Close()
	answer, err := a.Ask(t.Context(), server.URL+"/919912345601", question)
	if err != nil && strings.ContainsAny(err.Error(), "+:/") {
		t.Errorf("an error that tells more than what went wrong: %v", err)
	}
	return answer, err
}

func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func TestAQuestionIsSignedAndTellsWhoCallsWhom(t *testing.T) {
	var payload []byte
	var header http.Header
	answer, err := ask(t, AskerOptions{AllowPrivate: true}, func(w http.ResponseWriter, r *http.Request) {
		payload, _ = io.ReadAll(r.Body)
		header = r.Header.Clone()
		_, _ = io.WriteString(w, `{"action":"forward","forward_to":"+911140000000"}`)
	})
	if err != nil || answer != (masking.Answer{Action: masking.Forward, ForwardTo: "+911140000000"}) {
		t.Fatalf("%+v, %v", answer, err)
	}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(payload, header); err != nil {
		t.Errorf("the published verifier says %v", err)
	}
	var got message
	if err := json.Unmarshal(payload, &got); err != nil || got.Type != "call.stranger" || got.Data.From != question.Caller.E164() ||
		got.Data.VirtualNumber != "+914000000001" || got.Data.CallSID != "call_1" || got.Data.Reason != masking.RefusedStranger {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnythingButAnActionIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		want   error
	}{
		"nothing":        {says(``), errNoSense},
		"no JSON":        {says(`forward`), errNoSense},
		"two objects":    {says(`{"action":"pin"}{"action":"pin"}`), errNoSense},
		"no action":      {says(`{}`), errNoSense},
		"another server": {says(`{"action":"webhook"}`), errNoSense},
		"a wrong type":   {says(`{"action":5}`), errNoSense},
		"too much":       {says(`{"action":"pin","x":"` + strings.Repeat("x", maxAnswer) + `"}`), errTooLong},
		"500":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, errStatus},
		"204":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, errStatus},
		"a redirection": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, errStatus},
		"closed": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, errReach},
	} {
		if _, err := ask(t, AskerOptions{AllowPrivate: true}, c.handle); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for body, want := range map[string]masking.StrangerAction{`{"action":"announce"}`: masking.Announce, `{"action":"pin"}`: masking.AskPIN,
		`{"action":"reject","forward_to":"+1"}`: masking.Reject} {
		if answer, err := ask(t, AskerOptions{AllowPrivate: true}, says(body)); err != nil || answer != (masking.Answer{Action: want}) {
			t.Errorf("%s: %+v, %v", body, answer, err)
		}
	}
}

func TestAServerThatTakesItsTimeIsNotWaitedFor(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"before its header": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the asker has gone
			<-r.Context().Done()
		},
		"before its body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		if _, err := ask(t, AskerOptions{AllowPrivate: true, Timeout: 50 * time.Millisecond}, handle); !errors.Is(err, errReach) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnlyPublicAddressesAreReached(t *testing.T) {
	asked := false
	_, err := ask(t, AskerOptions{}, func(http.ResponseWriter, *http.Request) { asked = true })
	if !errors.Is(err, errForbidden) || asked {
		t.Errorf("a server on loopback: %v, asked: %v", err, asked)
	}
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true, "64:ff9b::808:808": true,
		"127.0.0.1": false, "127.9.9.9": false, "::1": false, "0.0.0.0": false, "::": false, "10.1.2.3": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.168.1.1": false, "169.254.169.254": false, "fe80::1": false, "fd00::1": false, "fc00::1": false,
		"100.64.0.1": false, "224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "::ffff:127.0.0.1": false,
		"::ffff:169.254.169.254": false, "64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "2002:7f00:1::": false, "::127.0.0.1": false,
		"198.18.0.1": false, "192.0.2.1": false, "2001:db8::1": false, "0.1.2.3": false, "240.0.0.1": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: %v", text, got)
		}
	}
}

func TestTheDeadServerOfOneTenantKeepsNoOtherWaiting(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/dead" {
			<-release
		}
		_, _ = io.WriteString(w, `{"action":"reject"}`)
	}))
	defer server.Close()
	a := NewAsker(AskerOptions{AllowPrivate: true, Timeout: time.Minute, Secret: func(masking.TenantID) string { return secret }})
	defer a.Close()
	var wg sync.WaitGroup
	refused := make(chan error, mostAtOnce)
	for range mostAtOnce {
		wg.Go(func() {
			if _, err := a.Ask(t.Context(), server.URL+"/dead", question); err != nil {
				refused <- err
			}
		})
	}
	for range mostAtOnce * 3 / 4 { // the others wait for their server
		if err := <-refused; !errors.Is(err, errBusy) {
			t.Error(err)
		}
	}
	other := question
	other.Tenant = "globex"
	if _, err := a.Ask(t.Context(), server.URL+"/alive", other); err != nil {
		t.Errorf("another tenant's question: %v", err)
	}
	close(release)
	wg.Wait()
	if _, err := a.Ask(context.Background(), server.URL+"/alive", question); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"action":"forward","forward_to":"+911140000000"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if a, err := parseAnswer(body); err == nil && (masking.StrangerPolicy{Action: a.Action, Forward: question.Caller}).Check() != nil {
			t.Errorf("%q gives the action %q", body, a.Action)
		}
	})
}
