package api_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"tandem/internal/web/api"
)

// documented reads the tables of a page: of each key its type and its default. A key
// without an effect is no explanation.
func documented(t *testing.T, section string) map[string][2]string {
	t.Helper()
	rows := map[string][2]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 2 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 6 || cells[4] == "" {
			t.Errorf("not four cells: %s", line)
			continue
		}
		rows[strings.Trim(cells[1], "`")] = [2]string{cells[2], cells[3]}
	}
	return rows
}

// property is what the test reads of a schema.
type property struct {
	Ref        string              `json:"$ref"`
	Type       string              `json:"type"`
	Enum       []string            `json:"enum"`
	Minimum    *int64              `json:"minimum"`
	Maximum    *int64              `json:"maximum"`
	MaxItems   *int64              `json:"maxItems"`
	MaxLength  *int64              `json:"maxLength"`
	Pattern    string              `json:"pattern"`
	Properties map[string]property `json:"properties"`
}

// settable writes what the document allows for each property of a schema, members of
// objects by their path.
func settable(schemas map[string]property, s property, path string, into map[string]string) {
	for name, p := range s.Properties {
		if of, ok := strings.CutPrefix(p.Ref, "#/components/schemas/"); ok {
			into[path+name] = "object"
			settable(schemas, schemas[of], path+name+".", into)
			continue
		}
		into[path+name] = bounds(p)
	}
}

func bounds(p property) string {
	switch {
	case len(p.Enum) > 0:
		var words []string
		for _, w := range p.Enum {
			if w != "tenant" { // of a number's own policy
				words = append(words, fmt.Sprintf("`%s`", w))
			}
		}
		return strings.Join(words, ", ")
	case p.Type == "integer" && p.Minimum != nil && p.Maximum != nil:
		return fmt.Sprintf("integer, %d to %d", *p.Minimum, *p.Maximum)
	case p.Type == "boolean":
		return "true or false"
	case p.Type == "array" && p.MaxItems != nil:
		return fmt.Sprintf("list of at most %d", *p.MaxItems)
	case p.Pattern != "":
		return "text as `" + p.Pattern + "`"
	case p.MaxLength != nil:
		return fmt.Sprintf("text of at most %d", *p.MaxLength)
	}
	return "text"
}

// defaults writes the members of an answer by their path, as JSON.
func defaults(value map[string]any, path string, into map[string]string) {
	for name, v := range value {
		if members, ok := v.(map[string]any); ok {
			defaults(members, path+name+".", into)
			continue
		}
		text, _ := json.Marshal(v) // it was read from JSON
		into[path+name] = "`" + strings.ReplaceAll(string(text), "1.4688e+07", "14688000") + "`"
	}
}

func TestEverySettingIsExplainedWithItsBoundsAndDefault(t *testing.T) {
	page, err := os.ReadFile("../../../docs/tenant-settings.md")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := api.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct {
			Schemas map[string]property `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		t.Fatal(err)
	}
	h := newHarness(t)
	fresh := map[string]string{}
	founded := h.admin("POST", "/v1/admin/tenants", `{"tenant_id":"fresh"}`).want(201)
	defaults(h.admin("GET", "/v1/admin/tenants/fresh", "").want(200).fields, "", fresh)
	defaults(h.do("GET", "/v1/tenants/fresh/settings", "", as(founded.text("account_sid"), founded.text("token"))).want(200).fields, "", fresh)
	fresh["name"] = "the `tenant_id`"
	own, operators, _ := strings.Cut(string(page), "## What the operator sets")
	settings, all := map[string]string{}, map[string]string{}
	settable(document.Components.Schemas, document.Components.Schemas["SettingsBody"], "", settings)
	settable(document.Components.Schemas, document.Components.Schemas["TenantBody"], "", all)
	for key, kind := range settings {
		if all[key] != kind {
			t.Errorf("the operator sets %s as %q, the tenant as %q", key, all[key], kind)
		}
		delete(all, key)
	}
	for section, want := range map[string]map[string]string{own: settings, operators: all} {
		rows := documented(t, section)
		for key, kind := range want {
			if row := rows[key]; row[0] != kind || row[1] != fresh[key] {
				t.Errorf("docs/tenant-settings.md says %q, %q of %s; it is %q, %q", row[0], row[1], key, kind, fresh[key])
			}
			delete(rows, key)
		}
		for key := range rows {
			t.Errorf("docs/tenant-settings.md explains %s, which does not exist", key)
		}
	}
	if len(settings) < 25 {
		t.Errorf("only %d settings", len(settings))
	}
}
