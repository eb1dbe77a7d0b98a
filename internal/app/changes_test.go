package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"tandem/internal/testkit/contract"
	"tandem/internal/voice/prompt"
	"tandem/internal/voice/wav"
)

// site asks nodes over HTTP.
type site struct {
	t      *testing.T
	client http.Client
}

func newSite(t *testing.T) *site {
	t.Helper()
	document, err := contract.API()
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &site{t, http.Client{Transport: document.Watch(transport, func(wrong error) { t.Error(wrong) })}}
}

// credentials are those of a tenant; zero are the operator's.
type credentials struct {
	SID   string `json:"account_sid"`
	Token string `json:"token"`
	ID    string `json:"token_id"`
}

// ask sends a request to a node and gives the status, and the answer in out.
func (s *site) ask(a *App, by credentials, method, path string, body, out any) int {
	s.t.Helper()
	kind, send := "application/json", []byte(nil)
	switch b := body.(type) {
	case nil:
	case []byte:
		kind, send = "audio/wav", b
	default:
		var err error
		if send, err = json.Marshal(b); err != nil {
			s.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+a.addrs.HTTP+path, bytes.NewReader(send))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if req.SetBasicAuth(by.SID, by.Token); by.Token == "" {
		req.Header.Set("Authorization", "Bearer "+a.admin)
	}
	res, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if out != nil && res.StatusCode/100 == 2 {
		if err := json.NewDecoder(res.Body).Decode(&struct {
			Response any `json:"response"`
		}{out}); err != nil {
			s.t.Fatal(err)
		}
	}
	return res.StatusCode
}

// must is ask, which must succeed.
func (s *site) must(a *App, by credentials, method, path string, body, out any) {
	s.t.Helper()
	if status := s.ask(a, by, method, path, body, out); status/100 != 2 {
		s.t.Fatalf("%s %s: %d", method, path, status)
	}
}

// becomes waits until something holds. What nodes poll they poll each second (openUpkeep,
// web/auth), so a change is in force within two; a machine that is slow may take longer.
func (s *site) becomes(what string, holds func() bool) {
	s.t.Helper()
	begun := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-s.t.Context().Done():
			s.t.Fatal("never: " + what)
		}
	}
	s.t.Logf("%s after %v", what, time.Since(begun).Round(10*time.Millisecond))
}

func TestWhatIsChangedAtOneNodeIsInForceAtTheOther(t *testing.T) {
	for _, notify := range []string{"true", "false"} {
		t.Run("notify "+notify, func(t *testing.T) {
			t.Parallel() // it waits for what is polled
			changesAreInForce(t, startAll(t, 2, "TANDEM_DATABASE_NOTIFY="+notify))
		})
	}
}

func changesAreInForce(t *testing.T, apps []*App) {
	t.Helper()
	for _, a := range apps {
		t.Cleanup(func() { stop(t, a) })
	}
	here, there, s := apps[0], apps[1], newSite(t)
	operator, acme := credentials{}, credentials{}
	s.must(here, operator, "POST", "/v1/admin/tenants", map[string]any{"tenant_id": "acme", "name": "Acme"}, &acme)
	s.changesTokens(here, there, acme)
	s.changesSettings(here, there, acme)
	s.changesTrunks(here, there)
	s.changesPrompts(here, there, acme)
	s.must(here, operator, "DELETE", "/v1/admin/tenants/acme", nil, nil)
	s.becomes("the tenant is gone", func() bool {
		return s.ask(there, acme, "GET", "/v1/tenants/acme/settings", nil, nil) == http.StatusUnauthorized
	})
}

func (s *site) changesTokens(here, there *App, acme credentials) {
	s.t.Helper()
	var second credentials
	s.must(here, credentials{}, "POST", "/v1/admin/tenants/acme/tokens", map[string]any{"label": "second"}, &second)
	second.SID = acme.SID
	s.must(there, second, "GET", "/v1/tenants/acme/settings", nil, nil)
	s.must(here, credentials{}, "DELETE", "/v1/admin/tenants/acme/tokens/"+second.ID, nil, nil)
	s.becomes("the token is refused", func() bool {
		return s.ask(there, second, "GET", "/v1/tenants/acme/settings", nil, nil) == http.StatusUnauthorized
	})
	s.must(there, acme, "GET", "/v1/tenants/acme/settings", nil, nil)
}

func (s *site) changesSettings(here, there *App, acme credentials) {
	s.t.Helper()
	s.must(here, acme, "PUT", "/v1/tenants/acme/settings", map[string]any{"ring_seconds": 33}, nil)
	var is struct {
		Ring int `json:"ring_seconds"`
	}
	s.becomes("the settings are changed", func() bool {
		s.must(there, acme, "GET", "/v1/tenants/acme/settings", nil, &is)
		return is.Ring == 33
	})
	s.must(here, credentials{}, "PUT", "/v1/admin/tenants/acme", map[string]any{"rate_limit": map[string]any{"per_second": 100, "burst": 321}}, nil)
	s.becomes("the rate is changed", func() bool {
		req, err := http.NewRequestWithContext(s.t.Context(), "GET", "http://"+there.addrs.HTTP+"/v1/tenants/acme/settings", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		req.SetBasicAuth(acme.SID, acme.Token)
		res, err := s.client.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.Header.Get("RateLimit-Limit") == "321"
	})
}

func (s *site) changesTrunks(here, there *App) {
	s.t.Helper()
	has := func(priority int) func() bool {
		return func() bool {
			list := there.agent.Trunks()
			return len(list) == 1 && list[0].Priority == priority
		}
	}
	trunk := map[string]any{"name": "carrier", "sources": []string{"127.0.0.2/32"}, "targets": []string{"127.0.0.2:5080"}, "transport": "udp",
		"country": "IN", "number_format": "e164", "options_seconds": 0, "priority": 3, "weight": 1, "caller_ids": []string{"*"}}
	s.must(here, credentials{}, "POST", "/v1/admin/trunks", trunk, nil)
	s.becomes("the trunk is used", has(3))
	s.must(here, credentials{}, "PUT", "/v1/admin/trunks/carrier", map[string]any{"priority": 7}, nil)
	s.becomes("the trunk is changed", has(7))
	s.must(here, credentials{}, "DELETE", "/v1/admin/trunks/carrier", nil, nil)
	s.becomes("the trunk is gone", func() bool { return len(there.agent.Trunks()) == 0 })
}

func (s *site) changesPrompts(here, there *App, acme credentials) {
	s.t.Helper()
	name := prompt.Names()[0]
	says := func() time.Duration { return there.library.Clip("acme", prompt.English, name).Duration() }
	ours := says()
	path := fmt.Sprintf("/v1/tenants/acme/prompts/%s/%s", prompt.English, name)
	s.must(here, acme, "PUT", path, beep(s.t), nil)
	s.becomes("the announcement is the tenant's own", func() bool { return says() != ours })
	s.must(here, acme, "DELETE", path, nil, nil)
	s.becomes("the announcement is ours again", func() bool { return says() == ours })
}

// beep is a second of sound.
func beep(t *testing.T) []byte {
	t.Helper()
	const rate = 8000
	file := wav.Header(rate, 1, 2*rate)
	for i := range rate {
		file = append(file, byte(i), byte(i%32))
	}
	return file
}
