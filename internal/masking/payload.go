package masking

import (
	"bytes"
	"encoding/json"
	"time"

	"tandem/internal/e164"
)

// payload is the body of a webhook, as the Standard Webhooks specification names
// its members.
type payload struct {
	Type      EventType       `json:"type"`
	Timestamp string          `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// Payload is what the endpoint is sent of an event: with people's numbers, or
// without the members that hold one. Virtual numbers are nobody's, and custom_field
// is the tenant's own text: both stay.
func (w Webhook) Payload(e Event, zone *time.Location) []byte {
	if !w.Numbers {
		e.Data = eachNumber(e.Data, func(e164.Number) string { return "" })
	}
	return e.payload(zone)
}

// HiddenPayload is what the endpoint is sent of an event, numbers hidden, for the
// log of deliveries.
func (w Webhook) HiddenPayload(e Event, zone *time.Location) []byte {
	if !w.Numbers {
		return w.Payload(e, zone)
	}
	e.Data = eachNumber(e.Data, e164.Number.Hidden)
	return e.payload(zone)
}

func (e Event) payload(zone *time.Location) []byte {
	return mustJSON(payload{e.Type, Stamp(e.At, zone), e.Data})
}

// eachNumber writes what put gives in place of each person's number in an object;
// where that is empty, the member goes.
func eachNumber(data json.RawMessage, put func(e164.Number) string) json.RawMessage {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return json.RawMessage("{}") // no object of ours, so nothing that may be shown
	}
	v, _ = replaceNumbers(v, put)
	return mustJSON(v)
}

// replaceNumbers is eachNumber for one value; keep tells whether anything is left.
func replaceNumbers(v any, put func(e164.Number) string) (out any, keep bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			switch name {
			case "greenvn", "vn", "virtual_number", "custom_field":
				continue
			}
			if member, keep = replaceNumbers(member, put); keep {
				v[name] = member
			} else {
				delete(v, name)
			}
		}
	case []any:
		kept := make([]any, 0, len(v))
		for _, item := range v {
			if item, keep = replaceNumbers(item, put); keep {
				kept = append(kept, item)
			}
		}
		return kept, len(v) == 0 || len(kept) > 0
	case string:
		n, err := e164.Parse(v)
		if err != nil {
			return v, true
		}
		text := put(n)
		return text, text != ""
	}
	return v, true
}
