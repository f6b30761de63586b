// Package docs reads the project's documents for tests that hold them to what they
// say: blocks of code, links and command lines.
//
// It guarantees that every fence and every link of a document is seen, and that a
// command line is one that the program takes, by its own help. It is no renderer of
// Markdown, and no shell. It runs no documented command; testkit/e2e does.
package docs
