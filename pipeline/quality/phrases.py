"""Wordings that some rules look for."""

from __future__ import annotations

_SELF = "AI|人工智能|大型?语言模型|语言模型|聊天机器人|虚拟助手|智能助手"
_SORRY = "很抱歉|非常抱歉|抱歉|对不起|不好意思"
_CANNOT = "无法|不能|没有办法|没办法|并不能|不具备|暂时无法"
_SERVICE = "提供|完成|满足|协助|帮助|回答|生成|执行"
_MODEL = r"ai\b|artificial intelligence|(?:large )?language model"

#: A model that declines, or speaks of itself.
REFUSAL = "(?i)" + "|".join(
    [
        rf"作为(?:一个|一名|一种|一款)?(?:{_SELF})",
        rf"(?:我是|我只是|我是一个|我只是一个|身为)(?:{_SELF})",
        rf"(?:{_SORRY})[，,。！! ]*(?:但是|但)?[，, ]*(?:作为.{{1,12}}[，,])?我(?:{_CANNOT})",
        rf"我(?:无法|不能)(?:{_SERVICE})(?:您|你|这|该|任何|有关|关于)",
        rf"\bas an? (?:{_MODEL})",
        rf"\bi(?:'m| am) (?:just )?an? (?:{_MODEL})",
        r"\b(?:sorry|apologi[sz]e)[,.!]?\s+(?:but\s+)?(?:as an ai\b|i (?:can(?:not|'t)|am (?:not able|unable)))",
    ]
)

_TITLES = """
求助 求解 求教 求救 求问 求解答 求大神 求帮助 求帮忙 求高手 求指教 请教 请问 请教一下 请问一下 请教问题
问题 问一下 问个问题 有个问题 一个问题 帮忙 帮帮忙 帮帮我 帮我 救命 急 急急 急急急 急急急急 很急 急求 急问
在线等 急在线等 在线求助 无标题 无题 标题 未命名 如题 题目 咨询 咨询一下 咨询问题 法律咨询 法律问题 健康咨询
怎么办 怎么办啊 怎么回事 怎么回事啊 为什么 为什么啊 是什么 什么 什么意思 测试 你好 您好 你好请问 谢谢 大家好
无 没有 其他 其它 test hello hi none null nan untitled notitle title question help helpme
"""
#: Match keys of titles that say nothing of what follows.
GENERIC_TITLES = frozenset(_TITLES.split())
