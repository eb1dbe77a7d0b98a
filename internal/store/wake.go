package store

// Topic is something of which nodes look again and again whether it has changed, and
// can be woken to look at once. What they would miss without being woken they find at
// their next look.
type Topic string

// The topics.
const (
	TopicEvents        Topic = "events"
	TopicTrunks        Topic = "trunks"
	TopicAnnouncements Topic = "announcements"
)

// Topics are all there are.
var Topics = []Topic{TopicEvents, TopicTrunks, TopicAnnouncements}
