"""MSD: a small language model is distilled from a large one's answers, then learns clicks (Meituan, 2025)."""
