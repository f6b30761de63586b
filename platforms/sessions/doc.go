// Package sessions keeps the sessions that the drivers of a platform share: one for
// each server, user, password and way to trust the server. A session whose drivers
// are all done with is closed after a while, so that a password that was changed, or
// a user that is made anew for each job, leaves none behind. It opens no connection.
package sessions
